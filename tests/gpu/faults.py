"""Every fault that a real GPU can show: brought about, found, acted on, and what it did to the neighbours.

Runs over the real stage; over the simulated one it leaves out what that can't bring about from outside. Prints a table
of faults last and writes faults.json: injected, found as, after how long, action, siblings harmed.
"""

import contextlib
import glob
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

from drive import described, options
from outside import alive, fetch, kill, members, wait_for
from stage import ROOT, RealStage, SimulatedStage

GIB = 1 << 30
FAULTS, RESTARTS, STATE = "mps_faults_total", "mps_restarts_total", "mps_group_state"
# 1 % of this GPU's memory a minute.
LEAK = int(0.01 * 140 * GIB / 60)
# The watchdog's own, as a service manager would give it one.
CGROUP = "/sys/fs/cgroup/mw"
CONFIGURATION = """\
nvml_library = {nvml}
state_directory = "{root}/state"

[web]
listen_addresses = ["{listen}"]

[[group]]
name = "h200"
gpu = 0
mode = "enforce"

[group.mps]
pipe_directory = "{root}/p"
log_directory = "{root}/log"

[group.policy]
hang = "enforce"

[group.isolation]
mode = "{isolation}"

[group.recovery]
budget = 1000
stable_after = "1s"
backoff = {{ first = "0s", next = "1ms", factor = 1.0, most = "1s", jitter = 0.0 }}
engine_budget = 4
wedge_grace = "5s"
"""
ENGINE = """
[[group.engine]]
name = "{name}"
command = {command}
url = "http://127.0.0.1:{port}"
{limits}start_timeout = "60s"
stop_timeout = "2s"
drain_timeout = "1s"
hang_after = "{hang_after}"
"""
# What one start of an engine does otherwise: a file that the wrapper reads, and removes unless it says KEEP.
WRAPPER = """\
once={root}/once-$1; shift
if [ -e "$once" ]; then . "$once"; [ -n "$KEEP" ] || rm -f "$once"; fi
exec "$@" $MORE
"""


class Callers:
    """One client of each engine, which always waits for an answer: without one no engine can be late."""

    def __init__(self, engines):
        self.over = threading.Event()
        for engine in engines:
            threading.Thread(target=self.call, args=[engine.url], daemon=True).start()

    def call(self, url):
        request = urllib.request.Request(f"{url}/v1/completions", data=b"{}")
        while not self.over.is_set():
            try:
                urllib.request.urlopen(request, timeout=600).read()
            except (OSError, http.client.HTTPException):
                self.over.wait(0.1)  # it is not there now
            self.over.wait(0.02)


class Neighbours:
    """Watches the tokens and processes of engines while something is done to another."""

    def __init__(self, stage, engines):
        self.stage, self.engines = stage, engines
        self.before = {process for process in stage.members() if process.role == "engine" and self.is_one(process)}
        self.samples, self.done = [], threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def is_one(self, process):
        names = {engine.name for engine in self.engines}
        leader = {found.pid: found.name for found in self.stage.members() if found.pid == found.session}
        return process.name in names or leader.get(process.session) in names

    def sample(self):
        while not self.done.is_set():
            made = {engine.name: self.stage.tokens(engine) for engine in self.engines}
            self.samples.append((time.monotonic(), made))
            self.done.wait(0.05)

    def __enter__(self):
        self.thread.start()
        time.sleep(1.0)  # a second of their usual rate, to compare with
        self.begun = time.monotonic()
        return self

    def __exit__(self, *_):
        time.sleep(0.6)  # an aftershock comes within 160 ms
        self.done.set()
        self.thread.join(5)

    def harmed(self):
        """Who lost a process, or made no token at the end."""
        lost = sorted({process.name or str(process.pid) for process in self.before if not alive(process)})
        stuck = self.stage.progressing(self.engines, 5)
        return sorted(set(lost) | set(stuck))

    def lowest(self, width=0.5):
        """The lowest rate of any of them over `width` seconds, as a share of its rate before."""
        shares = []
        for engine in self.engines:
            points = [(at, made[engine.name]) for at, made in self.samples if made[engine.name] >= 0]
            usual = rate([point for point in points if point[0] < self.begun])
            for at, _ in points:
                window = [point for point in points if at <= point[0] <= at + width]
                if at >= self.begun and window[-1][0] - at > width * 0.7 and usual:
                    shares.append(rate(window) / usual)
        return min(shares, default=None)

    def stalled(self):
        """The longest time in which one of them made no token, in seconds."""
        longest = 0.0
        for engine in self.engines:
            points = [(at, made[engine.name]) for at, made in self.samples if made[engine.name] >= 0]
            moved = [points[0][0]] if points else []
            for (_, before), (at, after) in zip(points, points[1:]):
                if after != before:
                    longest = max(longest, at - moved[-1])
                    moved.append(at)
            if points and points[-1][0] > moved[-1]:
                longest = max(longest, points[-1][0] - moved[-1])
        return longest


def rate(points):
    """Tokens a second over these points."""
    if len(points) < 2 or points[-1][0] == points[0][0]:
        return 0.0
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])


class FaultStage(RealStage):
    """The real stage with engines that can be started otherwise once."""

    def configure(self, isolation="off", memory=(10, 5, 5, 5, 5)):
        from stage import LISTEN, Engine, find_nvml
        text = CONFIGURATION.format(nvml=json.dumps(find_nvml()), root=ROOT, listen=LISTEN, isolation=isolation)
        self.engines = []
        with open(f"{ROOT}/wrapper.sh", "w") as file:
            file.write(WRAPPER.format(root=ROOT))
        for number, gib in enumerate(memory):
            name, port = "abcde"[number], 18001 + number
            command = ["bash", f"{ROOT}/wrapper.sh", name, self.engine, "--name", name, "--port", str(port)]
            command += ["--memory-gib", str(gib), "--kernel-us", "1000", "--sms", "16"]
            command += ["--fork-child", "--main-lives"] if name == "c" else []
            limit = {"a": None, "d": 40, "e": 11}.get(name, gib + 4)
            limits = f'device_memory_limit = "{limit}GiB"\n' if limit else ""
            limits += "" if name == "a" else "sm_percentage = 30\n"
            limits += 'memory_max = "2GiB"\n' if name == "b" else ""
            hang_after = "5s" if name in "bc" else "60s"
            text += ENGINE.format(
                name=name, command=json.dumps(command), port=port, limits=limits, hang_after=hang_after
            )
            self.engines.append(Engine(name, f"http://127.0.0.1:{port}"))
        with open(self.configuration, "w") as file:
            file.write(text)

    def start(self):
        """In a cgroup of its own that may limit memory, where that can be made."""
        with contextlib.suppress(OSError):
            os.makedirs("/sys/fs/cgroup/rest", exist_ok=True)
            for pid in open("/sys/fs/cgroup/cgroup.procs").read().split():
                with contextlib.suppress(OSError), open("/sys/fs/cgroup/rest/cgroup.procs", "w") as file:
                    file.write(pid)
            with open("/sys/fs/cgroup/cgroup.subtree_control", "w") as file:
                file.write("+memory")
            os.makedirs(CGROUP, exist_ok=True)
        super().start()

    def enter_cgroup(self):
        with contextlib.suppress(OSError), open(f"{CGROUP}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))

    def otherwise(self, name, text):
        """The next start of this engine does this first."""
        with open(f"{ROOT}/once-{name}", "w") as file:
            file.write(text)

    def tell(self, name, what):
        """An order to an engine's HTTP side."""
        return fetch(f"{self.engine_of(name).url}/{what}", "POST")[0] in (200, 202)

    def engine_of(self, name):
        return next(engine for engine in self.engines if engine.name == name)

    def client(self, *more, seconds=20, user=None, foreign=False):
        """A process of ours that is no engine: a client of the group's server, or, foreign, outside it."""
        where = f"{ROOT}/empty" if foreign else self.pipe_directory
        environment = dict(os.environ, CUDA_MPS_PIPE_DIRECTORY=where, CUDA_VISIBLE_DEVICES="0")
        command = [self.engine, "--foreign", "--fault", "none", "--memory-gib", "0.1", "--seconds", str(seconds), *more]
        with open(os.path.join(self.out, "mpswarden.log"), "ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, user=user)


class Faults:
    """The cases, and what came of each."""

    def __init__(self, stage, chosen):
        self.stage, self.out, self.records = stage, chosen.out, []
        self.until = time.monotonic() + chosen.deadline
        self.revived, self.configured = 0, {}
        self.socket = os.path.join(os.path.dirname(stage.configuration), "control.sock")
        stage.control_socket = self.socket

    def left(self):
        return self.until - time.monotonic()

    def names(self):
        return [engine.name for engine in self.stage.engines]

    def terminal(self, *words, seconds=60):
        command = [self.stage.watchdog, words[0], "--control-socket", self.socket, *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout + done.stderr

    def begin(self, **configuration):
        self.configured = configuration
        self.stage.configure(**configuration)
        self.stage.start()
        if not self.stage.wait_ready(90):
            raise RuntimeError(f"the group does not serve: {self.stage.status()[:1500]}")
        for engine in self.stage.engines:
            self.stage.load(engine, True)
        self.stage.progressing(self.stage.engines)

    def settle(self, seconds=40):
        """Waits until all engines serve and the fault before is over; else starts all anew, three times at most."""
        def calm():
            scrape = self.stage.scrape()
            return scrape and self.stage.ready() and scrape.total(STATE, state="serving") == 1
        if not wait_for(calm, seconds, 0.05):
            print(f"not serving, started anew: {self.stage.status()[:3000]}", flush=True)
            self.revived += 1
            if self.revived > 3:
                raise RuntimeError("the group failed to serve too often")
            self.stage.stop(15)
            self.stage.kill_all()
            for path in glob.glob(f"{ROOT}/once-*"):
                os.remove(path)
            self.begin(**self.configured)
        for engine in self.stage.engines:
            self.stage.load(engine, True)

    def leader(self, name):
        """The main process of an engine."""
        found = [process for process in self.stage.members() if process.name == name and process.pid == process.session]
        return found[0] if found else None

    def child(self, name):
        """The GPU process of an engine that has a child for it."""
        main = self.leader(name)
        own = [process for process in self.stage.members() if main and process.session == main.session]
        return next((process for process in own if process.pid != main.pid), main)

    def case(self, injected, fault, act, engine="", action="engine restart", bound=30.0, expected=None, after=None):
        """Brings a fault about and waits until it is told; judges action and neighbours."""
        if self.left() < bound:
            return print(f"left out for want of time: {injected}", flush=True)
        self.settle()
        others = [other for other in self.stage.engines if other.name != engine]
        before = self.stage.scrape()
        record = {"injected": injected, "expected": fault, "engine": engine, "action": action}
        with Neighbours(self.stage, others) as neighbours:
            begin = time.monotonic()
            done = act()
            counted = lambda: self.grew(before, FAULTS, fault=fault, engine=engine)
            found = wait_for(counted, bound)
            record["seconds"] = time.monotonic() - begin if found else None
            record["found"] = self.new_faults(before)
            record["acted"] = self.wait_for_action(before, action, fault, engine, bound)
            if after:
                after(done)
        record["harmed"] = neighbours.harmed() if "group" not in action else []
        record["lowest"], record["stalled"] = neighbours.lowest(), neighbours.stalled()
        record["because"] = self.because(fault, engine)
        record["detection"] = self.own_detection(before, fault)
        self.judge(record, expected)
        return record

    def grew(self, before, metric, **labels):
        scrape = self.stage.scrape()
        return scrape is not None and scrape.total(metric, **labels) > before.total(metric, **labels)

    def own_detection(self, before, fault):
        """By the watchdog's own clock: from the evidence's own time to the decision."""
        scrape = self.stage.scrape()
        grown = lambda name: scrape.total(name, fault=fault) - before.total(name, fault=fault)
        count = grown("mps_fault_detection_seconds_count")
        return grown("mps_fault_detection_seconds_sum") / count if count else None

    def new_faults(self, before):
        scrape, found = self.stage.scrape(), {}
        for labels, value in scrape.matching(FAULTS):
            grown = value - before.total(FAULTS, **labels)
            if grown:
                found[f"{labels['engine']}:{labels['fault']}".lstrip(":")] = int(grown)
        return found

    def wait_for_action(self, before, action, fault, engine, bound):
        if action == "told":
            time.sleep(1.0)  # long enough for an action that must not come
            scrape = self.stage.scrape()
            return "none" if scrape.total(RESTARTS) == before.total(RESTARTS) else "restarted"
        tier = "engine" if action == "engine restart" else "clients"
        labels = {"tier": tier, "reason": fault} | ({"engine": engine} if tier == "engine" else {})
        if not wait_for(lambda: self.grew(before, RESTARTS, **labels), bound):
            return "none"
        serving = lambda: (scrape := self.stage.scrape()) and scrape.total(STATE, state="serving") == 1 and \
            scrape.total("mps_recoveries_total", tier=tier, result="serving") > \
            before.total("mps_recoveries_total", tier=tier, result="serving")
        return action if wait_for(serving, 60) else "not serving again"

    def because(self, fault, engine=""):
        """The words of the latest incident of that fault, or of its line in another one."""
        status, text = fetch(f"http://{self.stage.listen}/api/v1/incidents")
        found = json.loads(text) if status == 200 else {}
        listed = found.get("incidents", found) if isinstance(found, dict) else found
        lines = [(line["word"], line["engine"] or "", line["text"]) for incident in listed for line in
                 [{"word": incident["fault"], "engine": incident["engine"], "text": incident["because"]}, *incident["lines"]]]
        return next((text for word, whose, text in lines if word == fault and whose == engine), "")

    def judge(self, record, expected):
        action = {"told": "none"}.get(record["action"], record["action"])
        unexpected = set(record["found"]) - {f"{record['engine']}:{record['expected']}".lstrip(":")} - set(expected or ())
        problems = []
        if record["seconds"] is None:
            problems.append("not found")
        if record["acted"] != action:
            problems.append(f"action {record['acted']}")
        if record["harmed"]:
            problems.append(f"harmed {record['harmed']}")
        if unexpected:
            problems.append(f"also found {sorted(unexpected)}")
        record["problems"] = problems
        self.records.append(record)
        took = f"{record['seconds']:.2f} s" if record["seconds"] is not None else "-"
        print(f"{time.strftime('%H:%M:%S')} {record['injected']}: {record['found']} after {took}, {record['acted']}; "
              f"{'; '.join(problems) or 'ok'}; {record['because']}", flush=True)

    # ------------------------------------------------------------ one engine

    def one_engine(self):
        stage = self.stage
        real = not stage.simulated
        name = "b" if real else self.names()[1]
        engine = next(engine for engine in stage.engines if engine.name == name)
        self.case("a kernel that never ends", "hang", lambda: stage.inject("hang", engine), name)
        self.case("SIGSTOP of the engine", "hang", lambda: self.stop_tree(name), name)
        self.case("device memory exhausted", "device_oom", lambda: stage.inject("device-oom", engine), name)
        if real:
            self.case("its GPU process ends, its main process lives on", "engine_died",
                      lambda: (stage.load(stage.engine_of("c"), False), time.sleep(0.1), kill(self.child("c"))), "c")
            self.started_otherwise(name)
            self.host_memory(engine, name)
        self.case("a process outside MPS computes", "foreign_process", self.foreign, "", "told",
                  after=lambda process: process and (process.terminate(), process.wait(30)))

    def stop_tree(self, name):
        main = self.leader(name)
        for process in self.stage.members():
            if main and process.session == main.session:
                kill(process, signal.SIGSTOP)

    def foreign(self):
        if self.stage.simulated:
            threading.Thread(target=self.stage.foreign, args=("none",), daemon=True).start()
            return None
        return self.stage.client(seconds=10, foreign=True)

    def started_otherwise(self, name):
        """Faults that an engine has from its start on: a wrapper changes its environment for one start."""
        stage = self.stage
        outside = f"export CUDA_MPS_PIPE_DIRECTORY={ROOT}/empty\n"
        unlimited = "unset CUDA_MPS_PINNED_DEVICE_MEM_LIMIT\n"
        def started(text):
            stage.otherwise(name, text)
            kill(self.leader(name))
        quiet = lambda: (stage.load(stage.engine_of(name), False), time.sleep(0.1))
        died = [f"{name}:engine_died"]
        self.case("started while no daemon was to be found", "outside_mps", lambda: (quiet(), started(outside)), name,
                  expected=died)
        self.case("started without its memory limit", "limit_missing", lambda: (quiet(), started(unlimited)), name,
                  expected=died)
        more = f"{unlimited}MORE='--memory-gib 12'\n"
        self.case("12 GiB with a limit of 9 GiB, which is not in force", "limit_exceeded",
                  lambda: (quiet(), started(more)), name, expected=[*died, f"{name}:limit_missing"])
        self.case("it ends at once, again and again", "crash_loop",
                  lambda: (quiet(), started("KEEP=1; exit 1\n")), name, "told", expected=died,
                  after=lambda _: (os.remove(f"{ROOT}/once-{name}"), self.terminal("release", f"h200/{name}", "--wait")))
        self.records[-1]["action"] = self.records[-1]["acted"] = "quarantined, released by hand"
        self.records[-1]["problems"] = [text for text in self.records[-1]["problems"] if not text.startswith("action")]

    def host_memory(self, engine, name):
        """Its cgroup's limit of host memory; left out where cgroups can't be made."""
        limits = glob.glob(f"{CGROUP}/**/h200.{name}/memory.max", recursive=True)
        if [open(limit).read().strip() for limit in limits] != [str(2 * GIB)]:
            return print(f"left out: {limits} limit no host memory here", flush=True)
        self.case("host memory over its cgroup's limit", "host_oom", lambda: self.stage.inject("host-oom", engine), name)

    # ------------------------------------------------------------ evictions

    def evictions(self, count=20):
        """Evictions of hung and of busy engines, with the neighbours' rates through them."""
        stage, rows = self.stage, []
        for number in range(count):
            if self.left() < 60:
                break
            name = "ab"[number % 2] if not stage.simulated else self.names()[number % 2]
            engine = next(engine for engine in stage.engines if engine.name == name)
            how = ("a kernel that never ends", "kernels of 300 ms", "kernels of 3 s")[number // 2 % 3]
            self.settle()
            others = [other for other in stage.engines if other.name not in (name, "e")]  # e may be taken out for its leak
            with Neighbours(stage, others) as neighbours:
                if how == "a kernel that never ends" or stage.simulated:
                    stage.inject("hang", engine)
                else:
                    stage.tell(name, f"kernel?us={300000 if '300' in how else 3000000}")
                time.sleep(0.2)  # well within a kernel
                begin = time.monotonic()
                code, text = self.terminal("evict", f"{stage.group}/{name}", "--wait")
                took = time.monotonic() - begin
            row = {"engine": name, "busy with": how, "status": code, "seconds": took, "harmed": neighbours.harmed(),
                   "lowest": neighbours.lowest(), "stalled": neighbours.stalled()}
            rows.append(row)
            print(f"{time.strftime('%H:%M:%S')} eviction {number + 1}: {row} {text if code else ''}", flush=True)
        return rows

    # ------------------------------------------------------------ leaks, beside all that

    def begin_leaks(self):
        self.leaks = {name: {"begun": time.monotonic(), "wall": time.time()} for name in "de" if not self.stage.simulated}
        for name in self.leaks:
            self.stage.tell(name, f"leak?bytes={LEAK}")

    def end_leaks(self, seconds=330):
        """Both must be told; the one that is nearly at its limit must be restarted before it gets there."""
        for name, leak in self.leaks.items():
            until = min(leak["begun"] + seconds - time.monotonic(), self.left() - 60)
            found = wait_for(lambda: (scrape := self.stage.scrape()) and
                             scrape.total(FAULTS, fault="memory_leak", engine=name) > 0, max(until, 0), 0.1)
            scrape = self.stage.scrape()
            told_at = scrape.total("mps_fault_last_timestamp_seconds", fault="memory_leak", engine=name)
            took = told_at - leak["wall"] if found else None
            restarted = None
            if name == "e":
                restarted = wait_for(lambda: (scrape := self.stage.scrape()) and
                                     scrape.total(RESTARTS, reason="memory_leak", engine=name) > 0,
                                     min(150, self.left() - 60), 0.1)
            deaths = scrape.total("mps_engine_exits_total", engine=name, cause="device_oom")
            record = {"injected": f"a leak of {LEAK / GIB * 60:.1f} GiB a minute, limit {40 if name == 'd' else 11} GiB",
                      "expected": "memory_leak", "engine": name, "seconds": took, "found": {f"{name}:memory_leak": 1},
                      "action": "told" if name == "d" else "engine restart", "harmed": [], "lowest": None,
                      "acted": "engine restart" if restarted else "none", "detection": None,
                      "because": self.because("memory_leak", name)}
            record["found"] = record["found"] if found else {}
            if deaths:
                record["found"]["device_oom"] = int(deaths)
            self.judge(record, None)

    # ------------------------------------------------------------ the group

    def starved(self):
        """One engine takes every SM for 25 s: nobody is evicted for that."""
        stage = self.stage
        if stage.simulated:
            return
        action = lambda: stage.tell("a", "inject?fault=take-all&us=25000000")
        expected = ["b:starved", "d:starved", "e:starved", "c:starved"]
        record = self.case("a sibling takes every SM for 25 s", "starved", action, "c", "told", 35, expected,
                           after=lambda _: wait_for(lambda: not self.stage.progressing(self.stage.engines, 1), 40))
        return record

    def strangers(self):
        """Clients of the server that are no engines."""
        stage = self.stage
        if stage.simulated:
            return
        stray = []
        def lingering():
            stray.append(stage.client("--linger", seconds=60))
            wait_for(lambda: stage.scrape().total("mps_unknown_clients") > 0, 20, 0.05)
            time.sleep(0.5)  # its first kernel is done
            return stage.inject("illegal-address", stage.engine_of("b"))
        def ends_the_stray(*_):
            stray[0].kill()
            stray[0].wait(30)
        self.case("a stray client holds the server in FAULT", "unknown_client", lingering, "", "told", 30,
                  ["gpu_fault"], after=ends_the_stray)
        self.settle(60)
        self.records[-1].update(action="told; the group is restarted for the fault", harmed=[])
        self.records[-1]["problems"] = [text for text in self.records[-1]["problems"] if not text.startswith(("action", "harmed"))]

    def crowd(self):
        """More clients than a server takes."""
        if self.stage.simulated:
            return
        crowd = lambda: [self.stage.client(seconds=8) for _ in range(50)]
        def ended(processes):
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            for process in processes:
                process.kill()
                process.wait(10)
        self.case("50 clients more", "client_limit", crowd, "", "told", 40, after=ended)

    def another_user(self):
        """The daemon then wants to end the server: the group must be restarted all the same."""
        if self.stage.simulated:
            return
        os.chmod(self.stage.pipe_directory, 0o755)
        end = lambda process: (process.kill(), process.wait(30))
        self.case("a client of another user", "uid_mismatch", lambda: self.stage.client(user="nobody"), "", "told", after=end)
        os.chmod(self.stage.pipe_directory, 0o700)
        begin = time.monotonic()
        code, text = self.terminal("restart", "h200", "--wait")
        self.records[-1]["restart_after_it"] = {"status": code, "seconds": time.monotonic() - begin, "text": text[-500:]}
        if code:
            self.records[-1]["problems"].append(f"a restart after it: status {code}")

    def isolation(self):
        """The same engine faults again and again: it must be found, and nobody else."""
        stage = self.stage
        culprit, faults, rounds = self.names()[1], 0, []
        engine = next(engine for engine in stage.engines if engine.name == culprit)
        guilty = lambda: {labels["engine"] for labels, value in stage.scrape().matching(
            "mps_engine_isolated", isolation="guilty") if value == 1}
        while faults < 8 and not guilty() and self.left() > 45:
            self.settle(60)
            before = stage.scrape()
            begin = time.monotonic()
            stage.inject("illegal-address", engine)
            wait_for(lambda: self.grew(before, FAULTS, fault="gpu_fault"), 20)
            faults += 1
            wait_for(lambda: stage.scrape().total(STATE, state="serving") == 0, 5)
            self.settle(60)
            places = {labels["engine"]: labels["isolation"] for labels, value in
                      stage.scrape().matching("mps_engine_isolated") if value == 1}
            rounds.append({"seconds": time.monotonic() - begin, "isolation": places})
            print(f"{time.strftime('%H:%M:%S')} fault {faults}: {places}", flush=True)
        found = guilty()
        record = {"engines": len(stage.engines), "culprit": culprit, "faults": faults, "guilty": sorted(found),
                  "rounds": rounds, "problems": [] if found == {culprit} else [f"guilty: {sorted(found)}"]}
        if found == {culprit}:
            self.after_the_verdict(record, engine)
        return record

    def after_the_verdict(self, record, engine):
        """Apart, its next fault harms nobody else; released, it comes home."""
        stage, others = self.stage, [other for other in self.stage.engines if other.name != engine.name]
        self.settle(60)
        with Neighbours(stage, others) as neighbours:
            before = stage.scrape()
            stage.inject("illegal-address", engine)
            found = wait_for(lambda: self.grew(before, FAULTS), 20)
            wait_for(lambda: stage.tokens(engine) < 0, 5)
            self.settle(60)
        record["apart_fault"] = {"found": bool(found), "harmed": neighbours.harmed(), "lowest": neighbours.lowest()}
        if not found or record["apart_fault"]["harmed"]:
            record["problems"].append(f"a fault apart: {record['apart_fault']}")
        code, text = self.terminal("release", f"{stage.group}/{engine.name}", "--wait")
        home = wait_for(lambda: stage.ready() and stage.scrape().total(
            "mps_engine_isolated", engine=engine.name, isolation="none") == 1, 60)
        apart = [process for process in members(f"{stage.pipe_directory}-apart")]
        gone = wait_for(lambda: not members(f"{stage.pipe_directory}-apart"), 20)
        record["release"] = {"status": code, "home": bool(home), "second_daemon_gone": bool(gone)}
        if code or not home or not gone:
            record["problems"].append(f"release: {record['release']} {text} {apart}")
        print(f"after the verdict: {record['apart_fault']}, {record['release']}", flush=True)


def run(faults, chosen, kept):
    """The whole plan, in this order: engines alone first, beside the leaks, which take minutes."""
    stage = faults.stage
    faults.begin()
    callers = None if stage.simulated else Callers(stage.engines)
    faults.begin_leaks()
    faults.one_engine()
    kept["evictions"] = faults.evictions(chosen.runs)
    faults.end_leaks()
    faults.starved()
    faults.strangers()
    faults.crowd()
    faults.another_user()
    faults.settle(60)
    code, took = stage.stop(60)
    if callers:
        callers.over.set()
    kept["stop"] = {"status": code, "seconds": took, "left": len(stage.members())}
    if not stage.simulated:
        stage.kill_all()
        faults.begin(isolation="enforce", memory=(10, 5, 5))
        kept["isolation"] = faults.isolation()
        stage.stop(60)


def table(faults, kept):
    """What people read."""
    print("\n| injected | found as | after | action | siblings harmed | their lowest rate |\n|---|---|---|---|---|---|")
    for record in faults.records:
        took = f"{record['seconds']:.2f} s" if record["seconds"] is not None else "-"
        lowest = f"{record['lowest']:.2f}" if record["lowest"] is not None else ""
        print(f"| {record['injected']} | {', '.join(record['found'])} | {took} | {record['acted']} | "
              f"{', '.join(record['harmed']) or 'none'} | {lowest} |")
    rows = kept.get("evictions", [])
    harmed = [row for row in rows if row["harmed"] or row["status"]]
    lowest = min((row["lowest"] for row in rows if row["lowest"] is not None), default=None)
    print(f"\n{len(rows)} evictions, {len(harmed)} with harm; lowest rate of a neighbour over half a second: {lowest}")
    found = kept.get("isolation")
    if found:
        print(f"isolation: {found['culprit']} of {found['engines']} guilty after {found['faults']} faults: {found['problems'] or 'ok'}")
    failed = [record for record in faults.records if record["problems"]]
    for record in failed:
        print(f"FAIL {record['injected']}: {record['problems']}")
    return bool(failed or harmed or kept.get("problem") or (found and found["problems"]))


def main():
    chosen = options()
    watchdog = os.path.abspath(chosen.watchdog)
    stage = SimulatedStage(watchdog, chosen.out) if chosen.simulated else FaultStage(watchdog, chosen.out, chosen.engine)
    faults, kept = Faults(stage, chosen), {"about": described(watchdog)}
    try:
        run(faults, chosen, kept)
    except Exception as error:  # what was found so far is kept
        kept["problem"] = f"{type(error).__name__}: {error}"
        print(kept["problem"], flush=True)
    finally:
        stage.keep_metrics()
        stage.kill_all()
        stage.keep_logs()
        kept["records"] = faults.records
        with open(os.path.join(chosen.out, "faults.json"), "w") as file:
            json.dump(kept, file, indent=1)
    return int(table(faults, kept))


if __name__ == "__main__":
    sys.exit(main())
