"""The stories of a soak, and the alerts that each must bring: made from the story and the divided rules, before anything
runs.

A story is a demo with faults and orders at their times. Each kind of fault says what follows from it (`CONSEQUENCES`);
what follows is expected within bounds: when it must fire, and when it may. All else that fires is false.
"""

import dataclasses
import re

import tenth

GROUP = "small-llms"
ENGINES = ("qwen-a", "qwen-b", "qwen-c")
# On a loaded machine: from a fault to its alert, beside the rule's own `for`; and from an end to the alert's.
LATE = 12
# A restart of the simulated group takes 5 s, more on a loaded machine.
RESTART = 25
# An alert keeps its last known state through 15 minutes without a scrape, a tenth of that here.
STALE = 90
# The demo's configuration is quick: an engine hangs after `hang_after`, and leaks after `leak_after`. A leak is seen sooner
# where the time before it is part of what was looked at.
HANGS, LEAKS = 15, 20
LEAKS_EARLY = 10
# A shorter time than this is not looked for: it may begin and end between two scrapes of a loaded machine.
SHORTEST = 5


@dataclasses.dataclass(frozen=True)
class Fault:
    """One that the demo injects, seconds after its start."""

    at: int
    kind: str
    engine: str = ""

    def argument(self):
        return f"{self.kind}{self.engine and ':' + self.engine}@{self.at}s"


@dataclasses.dataclass(frozen=True)
class Order:
    """One that an operator gives."""

    at: int
    words: tuple


@dataclasses.dataclass(frozen=True)
class Chapter:
    """One demo, from when it is scraped on."""

    name: str
    begins: int
    length: int
    faults: tuple
    orders: tuple = ()
    engines: int = 3


@dataclasses.dataclass(frozen=True)
class Expected:
    """An alert. It may fire from `may[0]` to `may[1]`, and must from `must[0]` to `must[1]`, where that is given."""

    alert: str
    labels: tuple
    may: tuple
    must: tuple = None

    def is_of(self, labels):
        return labels.get("alertname") == self.alert and all(labels.get(name, "") == value for name, value in self.labels)


def holds(rules):
    """Each alert's `for`, in seconds, of divided rules."""
    found = {}
    for block in re.split(r"\n\s+- alert: ", rules)[1:]:
        lasts = re.search(rf"\n\s+for: ({tenth.DURATION})", block)
        found[block.split("\n")[0]] = tenth.millis(lasts[1]) / 1000 if lasts else 0
    return found


class Expectation:
    """Gathers what a chapter must bring."""

    def __init__(self, chapter, lasts):
        self.chapter, self.lasts, self.found = chapter, lasts, []

    def alert(self, name, begins, ends, must=True, **labels):
        """The rule's condition is true from `begins` to `ends`."""
        labels = {"instance": self.chapter.name, **labels}
        fires = begins + self.lasts[name]
        sure = (fires + LATE, min(ends, self.chapter.length) - 2)
        # What was last known of a host that is scraped no more stays for 90 s.
        ends = min(ends, self.chapter.length + STALE)
        must = must and sure[1] - sure[0] >= SHORTEST
        at = self.chapter.begins
        found = Expected(
            name,
            tuple(sorted(labels.items())),
            (at + fires - 2, at + ends + LATE),
            (at + sure[0], at + sure[1]) if must else None,
        )
        if ends + LATE > fires:
            self.found.append(found)

    def group(self, name, begins, ends, **more):
        self.alert(name, begins, ends, group=GROUP, **more)

    def engine(self, name, engine, begins, ends, **more):
        self.alert(name, begins, ends, group=GROUP, engine=engine, **more)


def group_fault(fault, down=RESTART):
    """The server is lost with all engines on it, and mended."""

    def follows(it, at, _engine, _until):
        it.group("MpsGroupFaulted", at, at + 60, fault=fault)
        it.group("MpsRecoveryInProgress", at, at + down, must=False)

    return follows


def engine_fault(alert, lasts):
    """One engine ends and comes back; it is reported for a while."""

    def follows(it, at, engine, _until):
        it.engine(alert, engine, at, at + lasts)

    return follows


def sick_gpu(alert):
    """The group is held, down to its daemon, until the GPU is well. One alert says so, and no other."""

    def follows(it, at, _engine, until):
        it.alert(alert, at, until, gpu="0")
        it.group("MpsRecoveryInProgress", at, at + LATE, must=False)
        it.group("MpsRecoveryInProgress", until, until + RESTART, must=False)

    return follows


def blind_driver(it, at, _engine, until):
    """Engines serve on; nobody sees the GPU."""
    it.alert("MpswardenBlind", at + 2, until, source="nvml", gpu="0")


def driver_wants(action):
    """The driver wants something that stops nothing."""

    def follows(it, at, _engine, until):
        it.alert("MpsGpuDriverWants", at, until, gpu="0", action=action)

    return follows


def foreign_process(it, at, _engine, _until):
    """It computes for ten minutes."""
    it.alert("MpsForeignProcess", at + 3, at + 600, gpu="0")


def no_server(it, at, _engine, until):
    """The server dies, and none can be started: the group tries and is held for it."""
    group_fault("server_died")(it, at, "", until)
    # A try comes every half minute once the group is held.
    it.group("MpsServerCannotStart", at + 1, until, fault="server_cannot_start")
    it.group("MpsServerCannotStart", until, until + 45, fault="server_cannot_start", must=False)
    it.group("MpsRecoveryInProgress", at, until + 60, must=False)


def wedged_daemon(it, at, _engine, _until):
    """It is found after 10 to 25 s, has its grace of 15 s, and is replaced."""
    it.group("MpsGroupFaulted", at + 25, at + 70, fault="control_wedged")
    it.group("MpsGroupFaulted", at + 8, at + 110, fault="control_wedged", must=False)
    it.group("MpsRecoveryInProgress", at + 8, at + 80, must=False)


def dead_daemon(it, at, _engine, _until):
    """Its server ends with it."""
    group_fault("control_died")(it, at, "", at)
    it.group("MpsGroupFaulted", at, at + 60, fault="server_died", must=False)


def stopped_engine(it, at, engine, until):
    """It hangs, is only observed (as `hang` is by default), and is ended by an order."""
    hangs = at + HANGS
    it.engine("MpsEngineHang", engine, hangs + 2, until)
    it.engine("MpsEngineHang", engine, hangs, until + RESTART, must=False)
    # Before it counts as hung nobody reads it, and it does not serve.
    it.engine("MpsEngineUnreadable", engine, at, hangs + 5, must=False)
    it.engine("MpsEngineNotServing", engine, at, hangs + 5, must=False)
    it.group("MpswardenSourceDown", at, hangs + 5, source="probe", must=False)
    it.alert("MpsActionsSuppressed", hangs, hangs + 95, group=GROUP, action="restart_engine", reason="observe", must=False)


def hung_engine(it, at, engine, until):
    """It says that it is healthy, answers nobody, and is ended by an order. The callers of a demo give up after 30 s, so
    that for a moment nobody waits: the fault ends and begins again, and so does the wait of its alert."""
    hangs = at + HANGS
    it.engine("MpsEngineHang", engine, hangs, until + RESTART, must=False)
    it.engine("MpsEngineNotServing", engine, until, until + RESTART, must=False)
    it.group("MpswardenSourceDown", at, until + 5, source="probe", must=False)
    it.alert("MpsActionsSuppressed", hangs, until + 95, group=GROUP, action="restart_engine", reason="observe", must=False)


def starved_engine(it, at, engine, until):
    """As one that hangs; only reported."""
    it.engine("MpsEngineStarved", engine, at + 8, until, must=False)


def newcomers_hang(it, at, _engine, until):
    """The group is to start again, and its server lets no client in: only an order for another daemon helps, for by
    default that fault is observed."""
    group_fault("gpu_fault")(it, at, "", at)
    it.group("MpsRecoveryInProgress", at, until + RESTART, must=False)
    it.group("MpsNewcomersHang", at + 30, until + 10, must=False)
    it.alert("MpsActionsSuppressed", at + 30, until + 95, group=GROUP, must=False)
    for name in ENGINES:
        # One that did not get ready in a minute.
        it.engine("MpsEngineDied", name, at + 60, until + 75, must=False)
        it.engine("MpsEngineNotServing", name, at, until + RESTART, must=False)


def leaking_engine(it, at, engine, until):
    """Its memory would be at its limit after 75 s, and it is restarted 20 s before that."""
    it.engine("MpsEngineMemoryLeak", engine, at + LEAKS_EARLY, at + 120, must=False)
    it.engine("MpsEngineMemoryLeak", engine, at + LEAKS + 5, at + 52)
    it.engine("MpsEngineMemoryLimitSoon", engine, at, at + 120, must=False)
    it.engine("MpsEngineMemoryNearLimit", engine, at, at + 120, must=False)


def nothing(*_):
    """Nobody has to hear of it."""


# What follows from each fault that a demo injects.
CONSEQUENCES = {
    "illegal-address": group_fault("gpu_fault"),
    "trap": group_fault("gpu_fault"),
    "linger": group_fault("gpu_fault"),
    "sigkill-busy": group_fault("gpu_fault"),
    "sigkill-idle": engine_fault("MpsEngineDied", 60),
    "device-oom": engine_fault("MpsEngineDeviceOom", 360),
    "host-oom": engine_fault("MpsEngineHostOom", 360),
    "leak": leaking_engine,
    "stop": stopped_engine,
    "hang": hung_engine,
    "stop-core": hung_engine,
    "dead-core": engine_fault("MpsEngineDied", 60),
    "starve": starved_engine,
    "zombie": engine_fault("MpsEngineDied", 60),
    "server-kill": group_fault("server_died"),
    "server-cannot-start": no_server,
    "server-starts": nothing,
    "evict": engine_fault("MpsEngineEvicted", 360),
    "newcomers-hang": newcomers_hang,
    "control-kill": dead_daemon,
    "control-wedge": wedged_daemon,
    "outside-mps": nothing,
    "foreign-process": foreign_process,
    "foreign-fault": nothing,
    "term-hangs": nothing,
    "abort-all": nothing,
    "echo": nothing,
    "echo-flood": nothing,
    "xid-79": sick_gpu("MpsGpuLost"),
    "reset-needed": sick_gpu("MpsGpuResetNeeded"),
    "gpu-repaired": nothing,
    "nvml-hang": blind_driver,
    "nvml-error": blind_driver,
    "nvml-well": nothing,
    "nvml-reset-required": sick_gpu("MpsGpuResetNeeded"),
    "nvml-lost": sick_gpu("MpsGpuLost"),
    "bus-reset-needed": sick_gpu("MpsGpuResetNeeded"),
    "system-reboot-needed": sick_gpu("MpsGpuResetNeeded"),
    "imex-domain": driver_wants("recover_imex_domain"),
    "unknown-action": driver_wants("not_understood"),
}
# What ends a fault that lasts.
ENDS = {
    "server-cannot-start": "server-starts",
    "nvml-hang": "nvml-well",
    "nvml-error": "nvml-well",
    **{
        sick: "gpu-repaired"
        for sick in (
            "xid-79 reset-needed nvml-reset-required nvml-lost bus-reset-needed system-reboot-needed imex-domain unknown-action"
        ).split()
    },
}
# Faults that cost one whole-group restart; the demo's budget has five.
RESTARTS = {
    "illegal-address", "trap", "linger", "sigkill-busy", "server-kill", "server-cannot-start", "control-kill",
    "control-wedge", "newcomers-hang", "xid-79", "reset-needed", "nvml-reset-required", "nvml-lost", "bus-reset-needed",
    "system-reboot-needed",
}  # fmt: skip
BUDGET = 5
# Failures of one engine that quarantine it.
ENGINE_BUDGET = 5
DEATHS = {"sigkill-idle", "zombie", "dead-core", "device-oom", "host-oom"}
# Fatal GPU faults that nothing explains: when they repeat, suspects run isolated.
REPEATED = {"illegal-address", "trap", "linger"}
# Who always does it is found, among three engines, with the third or fourth.
FOUND = 3
# Between two engines, or groups, that fail for the same reason more than five times.
STORM = 90


def expected(chapter, lasts):
    """Every alert that a chapter must, or may, bring."""
    it = Expectation(chapter, lasts)
    for fault in chapter.faults:
        CONSEQUENCES[fault.kind](it, fault.at, fault.engine, until(chapter, fault))
    for part in (budget, isolation, quarantine, storms, orders):
        part(it)
    return it.found


def until(chapter, fault):
    """When a fault that lasts is ended: by another one, by an order about its engine, or with the chapter."""
    ends = [later.at for later in chapter.faults if later.at > fault.at and later.kind == ENDS.get(fault.kind)]
    ends += [order.at for order in chapter.orders if order.at > fault.at and order.words[-1] == f"{GROUP}/{fault.engine}"]
    ends += [order.at for order in chapter.orders if order.at > fault.at and order.words[0] == "restart"]
    return min(ends, default=chapter.length)


def budget(it):
    """Each whole-group restart leaves one less; what a spent budget comes to is a back-off of 8 to 12 minutes."""
    repeated = [fault for fault in it.chapter.faults if fault.kind in REPEATED]
    # Those of an engine that was proven guilty count against it alone.
    its_own = set(repeated[FOUND:])
    restarts = [fault.at for fault in it.chapter.faults if fault.kind in RESTARTS and fault not in its_own]
    end = it.chapter.length
    if len(restarts) >= BUDGET - 1:
        it.group("MpsRestartBudgetLow", restarts[BUDGET - 2], restarts[BUDGET - 1] if len(restarts) >= BUDGET else end)
    if len(restarts) >= BUDGET:
        # A stop gives the budget back.
        stops = [order.at for order in it.chapter.orders if order.words[0] == "stop" and order.at > restarts[BUDGET - 1]]
        it.group("MpsRestartBudgetSpent", restarts[BUDGET - 1], min(stops, default=end))
    if len(restarts) > BUDGET:
        down = restarts[BUDGET]
        back = min([order.at for order in it.chapter.orders if order.words[0] == "stop" and order.at > down], default=end)
        # The alert is for Alertmanager, and ends after a minute (10 minutes) whatever happens.
        it.group("MpsRecoveryInProgress", down, min(down + 60, back))
        it.group("MpsGroupDown", down, back)
        it.group("MpsGroupDown", back, back + RESTART, must=False)
        for engine in ENGINES:
            it.engine("MpsEngineNotServing", engine, down, back + RESTART, must=False)


def isolation(it):
    """From the second fatal fault on the culprit is searched for: who always does it is found with the third or fourth."""
    faults = [fault for fault in it.chapter.faults if fault.kind in REPEATED]
    if len(faults) < 2:
        return
    culprit = faults[0].engine
    found = faults[min(3, len(faults) - 1)].at
    it.group("MpsIsolationActive", faults[1].at, faults[2].at if len(faults) > 2 else it.chapter.length)
    it.group("MpsIsolationActive", faults[1].at, found + RESTART, must=False)
    released = until(it.chapter, faults[0])
    it.engine("MpsEngineGuilty", culprit, found + RESTART, released)
    it.engine("MpsEngineGuilty", culprit, faults[2].at, released + 5, must=False)


def quarantine(it):
    """An engine that has spent its own budget stays out until somebody releases it."""
    for engine in ENGINES:
        deaths = [fault for fault in it.chapter.faults if fault.kind in DEATHS and fault.engine == engine]
        if len(deaths) >= ENGINE_BUDGET:
            last = deaths[ENGINE_BUDGET - 1]
            it.engine("MpsEngineQuarantined", engine, last.at + 1, until(it.chapter, last))


def storms(it):
    """The same fault more than five times within 15 minutes, a tenth of that here."""
    kinds = {}
    for fault in it.chapter.faults:
        kinds.setdefault((fault.kind, fault.engine if fault.kind in DEATHS else ""), []).append(fault.at)
    for (kind, engine), times in kinds.items():
        for first, sixth in zip(times, times[5:]):
            if sixth - first < STORM:
                it.group("MpsFaultStorm", sixth - LATE, first + STORM + LATE, must=False)
                it.group("MpsFaultStorm", sixth, first + STORM + 5)


def orders(it):
    """A hold is reported while it lasts, and so is a fault that nobody mends because of it."""
    for order in it.chapter.orders:
        if order.words[0] != "hold":
            continue
        ends = [later.at for later in it.chapter.orders if later.words[0] == "resume" and later.at > order.at]
        end = min(ends, default=it.chapter.length)
        it.group("MpsGroupOnHold", order.at, end)
        for fault in it.chapter.faults:
            if fault.kind == "server-kill" and order.at < fault.at < end:
                left_alone(it, fault.at, end)


def left_alone(it, at, end):
    """Every context is dead, and mpswarden keeps out: a person is needed now."""
    it.group("MpsServerFault", at, end, fault="server_died")
    it.group("MpsRecoveryInProgress", end, end + RESTART, must=False)
    it.alert("MpsActionsSuppressed", at, at + 95, group=GROUP, reason="hold")
    for engine in ENGINES:
        it.engine("MpsEngineDied", engine, at, at + 75, must=False)
        it.engine("MpsEngineNotServing", engine, at, end, must=False)


# When, after it was injected, a fault may be found, where that is not at once.
LATER = {
    "stop": (HANGS, HANGS + 15), "hang": (HANGS, HANGS + 40), "stop-core": (HANGS, HANGS + 40), "starve": (8, 40, 70),
    "leak": (LEAKS_EARLY, LEAKS + 15, LEAKS + 60), "newcomers-hang": (0, 25, 35, 60, 90),
}  # fmt: skip


def across_the_fleet(chapters):
    """While three groups or more had a fault within 15 minutes (a tenth of that), on as many hosts: one alert."""
    began = [
        (chapter.begins + fault.at + later, chapter.name)
        for chapter in chapters
        for fault in chapter.faults
        for later in LATER.get(fault.kind, (0, 25))
    ]
    end = max(chapter.begins + chapter.length for chapter in chapters)
    hosts = lambda at: len({name for since, name in began if at - STORM - LATE < since <= at})  # noqa: E731
    may = [at for at in range(end + LATE) if hosts(at) >= 3]
    return [
        Expected("MpsFaultsAcrossFleet", (), (span[0] - 2, span[1] + LATE)) for span in runs(may)
    ]


def runs(seconds):
    """Consecutive seconds as spans."""
    found = []
    for second in seconds:
        if found and second == found[-1][1] + 1:
            found[-1][1] = second
        else:
            found.append([second, second])
    return [tuple(span) for span in found]


def faults(text):
    """`kind:engine@seconds kind@seconds`"""
    found = []
    for word in text.split():
        what, at = word.rsplit("@", 1)
        kind, _, engine = what.partition(":")
        found.append(Fault(int(at), kind, engine))
    return tuple(found)


def release(engine, at):
    return Order(at, ("release", f"{GROUP}/{engine}"))


def evict(engine, at):
    return Order(at, ("evict", f"{GROUP}/{engine}"))


ENGINE_STORY = faults(
    "sigkill-idle:qwen-a@20 device-oom:qwen-b@40 host-oom:qwen-c@60 zombie:qwen-a@80 dead-core:qwen-b@100 "
    "evict:qwen-c@125 outside-mps:qwen-b@150 term-hangs:qwen-a@180 echo:qwen-a@210 abort-all:qwen-c@215 "
    "foreign-process@225 foreign-fault@235 imex-domain@280 gpu-repaired@310 unknown-action@330 gpu-repaired@350"
)
GPU_STORY = faults(
    "reset-needed@20 gpu-repaired@80 xid-79@110 gpu-repaired@160 nvml-hang@190 nvml-well@240 "
    "nvml-reset-required@270 gpu-repaired@320"
)
DRIVER_STORY = faults(
    "nvml-lost@20 gpu-repaired@60 bus-reset-needed@90 gpu-repaired@130 system-reboot-needed@160 gpu-repaired@200 "
    "nvml-error@230 nvml-well@275 echo-flood:qwen-b@300"
)
ISOLATION_STORY = faults(
    "illegal-address:qwen-c@20 illegal-address:qwen-c@50 illegal-address:qwen-c@80 illegal-address:qwen-c@110 "
    "illegal-address:qwen-c@150"
)
BUDGET_STORY = faults("server-kill@20 server-kill@35 server-kill@50 server-kill@65 server-kill@84 server-kill@106")
QUARANTINE_STORY = faults("sigkill-idle:qwen-a@20 zombie:qwen-a@35 sigkill-idle:qwen-a@50 dead-core:qwen-a@70 sigkill-idle:qwen-a@95")
DAEMON_STORY = faults("control-kill@20 control-wedge@50 linger:qwen-b@140 server-cannot-start@190 server-starts@260")
HANG_STORY = faults("hang:qwen-a@20 stop-core:qwen-b@100 starve:qwen-c@180 trap:qwen-b@280 newcomers-hang:qwen-a@310")
STANDING_STORY = faults("leak:qwen-c@20 stop:qwen-a@30 sigkill-busy:qwen-b@300")

# Twenty minutes, three demos at a time.
LONG = (
    Chapter("engines", 0, 400, ENGINE_STORY),
    Chapter("gpus", 405, 380, GPU_STORY),
    Chapter("drivers", 790, 360, DRIVER_STORY),
    Chapter("isolation", 0, 300, ISOLATION_STORY, (release("qwen-c", 220),)),
    Chapter("budget", 305, 330, BUDGET_STORY, (Order(255, ("stop", GROUP)), Order(275, ("start", GROUP)))),
    Chapter("quarantine", 640, 240, QUARANTINE_STORY, (release("qwen-a", 180),)),
    Chapter("daemons", 885, 310, DAEMON_STORY),
    Chapter("standing", 0, 600, STANDING_STORY, (Order(230, ("evict", f"{GROUP}/qwen-a")),)),
    Chapter("held", 605, 180, faults("server-kill@40"), (
        Order(20, ("hold", GROUP, "--reason", "soak")), Order(120, ("resume", GROUP)),
    )),
    Chapter("hangs", 790, 400, HANG_STORY, (
        evict("qwen-a", 75), evict("qwen-b", 160), evict("qwen-c", 258), Order(355, ("restart", GROUP, "--tier", "daemon")),
    )),
)  # fmt: skip
# For each change: two minutes.
SHORT = (
    Chapter("isolation", 0, 120, ISOLATION_STORY[:3]),
    Chapter("gpus", 0, 120, faults("reset-needed@25 gpu-repaired@85")),
)
