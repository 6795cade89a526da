"""Harm to one engine, to the server, to the daemon: each is found under its right name, and nobody else suffers."""

import re
import signal
import time
from dataclasses import dataclass
from typing import Callable

from group import GROUP, NAMES, say
from loads import Streams
from outside import alive, grown, kill

KILL, TERM, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP
BEFORE, AFTER = 5.0, 3.0  # seconds of load before a harm, and of watching for an aftershock


@dataclass(frozen=True)
class Case:
    """One harm and what must come of it."""

    name: str
    engine: str  # whose matter it is; empty: the whole group's
    fault: str  # as mps_faults_total spells it; empty: an order, no fault
    tier: str
    act: Callable  # (group) -> what it did; None: it could not
    seconds: float  # until it is over, about
    beside: tuple = ()  # other faults that the same harm may rightly be called as well
    reason: str = ""  # of the restart; else the fault's name

    def restart(self):
        return f"{self.engine or '-'}/{self.tier}/{self.reason or self.fault}"


def signalled(find, number):
    def act(group):
        process = find(group)
        if process is None:
            return None
        kill(process, number)
        return f"signal {int(number)} to {process.pid}"
    return act


def main_of(name):
    return lambda group: group.main(name)


def core_of(name):
    return lambda group: group.core(name)


def stray(group):
    group.stray = group.gpu.stray()
    return f"stray client {group.stray.pid}"


def evict(group):
    status, text = group.order("evict", f"{GROUP}/a")
    return text.splitlines()[0][:100] if status == 0 and text else ("ordered" if status == 0 else None)


def cases(hang_after):
    """The short ones first."""
    return [
        Case("core killed", "a", "engine_died", "engine", signalled(core_of("a"), KILL), 55),
        Case("api killed", "b", "engine_died", "engine", signalled(main_of("b"), KILL), 55),
        Case("api terminated", "a", "engine_died", "engine", signalled(main_of("a"), TERM), 58),
        Case("evicted", "a", "", "engine", evict, 65, reason="operator"),
        Case("server killed", "", "server_died", "clients", signalled(lambda group: group.server(), KILL), 65,
             ("gpu_fault",)),
        Case("control killed", "", "control_died", "daemon", signalled(lambda group: group.control(), KILL), 67,
             ("server_died",)),
        Case("stray client faults", "", "gpu_fault", "clients", stray, 65, ("unknown_client",)),
        Case("core stopped", "b", "hang", "engine", signalled(core_of("b"), STOP), 57 + hang_after),
        Case("api stopped", "a", "hang", "engine", signalled(main_of("a"), STOP), 57 + hang_after),
    ]


def counts(page, name, *labels):
    """A counter's samples that are not 0, by their labels."""
    return {"/".join(has.get(label) or "-" for label in labels): value
            for has, value in page.matching(name) if value}


class Times:
    """When each step of one case was first seen from outside, in seconds from the harm."""

    def __init__(self, group, case, before):
        self.group, self.case, self.before = group, case, before
        self.old = {name: group.main(name) for name in NAMES}
        self.cores = {name: group.core(name) for name in NAMES}
        self.began, self.seen, self.page = time.monotonic(), {}, None

    def now(self):
        return round(time.monotonic() - self.began, 3)

    def see(self, step, true):
        if true and step not in self.seen:
            self.seen[step] = self.now()
        return true

    def growth(self, name, *labels):
        return grown(counts(self.before, name, *labels), counts(self.page, name, *labels))

    def hit(self):
        return [self.case.engine] if self.case.engine else list(NAMES)

    def look_closely(self):
        """Counters and processes: dearer than readiness, so less often."""
        self.page = self.group.scrape()
        if not self.page.samples:
            return
        self.see("told", bool(self.growth("mps_faults_total", "engine", "fault")))
        self.see("ordered", bool(self.growth("mps_restarts_total", "engine", "tier", "reason")))
        self.see("old gone", all(self.old[name] and not alive(self.old[name]) for name in self.hit()))
        if "old gone" in self.seen and "started" not in self.seen:
            family = self.group.family.look()
            self.see("started", any(self.group.main(name, family) for name in self.hit()))

    def follow(self):
        """Until it serves again after a restart; False: it never did."""
        look_at, most = 0.0, self.case.seconds + 60
        while self.now() < most and self.group.process.poll() is None:
            ready = self.group.ready()
            self.see("noticed", not ready)
            if self.now() >= look_at:
                self.look_closely()
                look_at = self.now() + 0.04
            if ready and "ordered" in self.seen and "started" in self.seen:
                self.seen["serving"] = self.now()
                return True
            if ready and self.now() > self.case.seconds and "ordered" not in self.seen:
                return False
            time.sleep(0.005)
        return False


class Harms:
    """The cases one after another, over callers who stream."""

    def __init__(self, group, options, left):
        self.group, self.options, self.left = group, options, left
        self.record = {"cases": [], "left_out": [], "wrong": []}

    def run(self):
        wanted = [word.strip() for word in self.options.cases.split(",") if word.strip()]
        every = cases(self.options.hang_after)
        chosen = [case for case in every if not wanted or any(word in case.name for word in wanted)]
        if wanted and not chosen:
            self.record["wrong"].append(f"no case has one of these words: {self.options.cases}")
        loads = {name: Streams(self.group.ports[name]) for name in NAMES}
        try:
            for case in chosen:
                self.one(case, loads)
        finally:
            for name, load in loads.items():
                load.on = False
                self.record[f"load of {name}"] = {"answers": len(load.done), "failed": len(load.failed),
                                                  "problems": load.problems}
        return self.record

    def one(self, case, loads):
        if case.seconds > self.left():
            self.record["left_out"].append(f"{case.name} (no time)")
        elif self.group.wait_ready(min(90, max(self.left() - case.seconds, 1))) is None:
            self.record["left_out"].append(f"{case.name} (the group does not serve)")
        else:
            record = self.carry_out(case, loads)
            self.record["cases"].append(record)
            self.record["wrong"] += [f"{case.name}: {what}" for what in record["wrong"]]

    def carry_out(self, case, loads):
        time.sleep(BEFORE)
        log_at, now = self.group.log_size(), time.monotonic()
        quiet = {name: load.longest_gap(now - BEFORE + 1, now) for name, load in loads.items()}
        rates = {name: load.rate(BEFORE - 1) for name, load in loads.items()}
        times = Times(self.group, case, self.group.scrape())
        did = case.act(self.group)
        say(f"=== {case.name}: {did or 'nothing to do it to'}; answers a second before: {rates}")
        served = times.follow() if did else False
        time.sleep(AFTER)
        times.look_closely()
        record = {
            "case": case.name, "did": did, "times": times.seen,
            "faults": times.growth("mps_faults_total", "engine", "fault"),
            "restarts": times.growth("mps_restarts_total", "engine", "tier", "reason"),
            "exits": times.growth("mps_engine_exits_total", "engine", "cause"),
            "refuted": times.growth("mps_evidence_refuted_total", "engine", "code", "how"),
            "loads": {name: {"failed": load.failures(times.began), "gap_s": load.longest_gap(times.began),
                             "gap_before_s": quiet[name], "rate_before": rates[name], "rate_after": load.rate(2)}
                      for name, load in loads.items()},
            "log": self.group.said(log_at),
        }
        if case.act is stray:
            record["launched_s"] = self.launched(times.began)
        record["wrong"] = self.judge(case, times, record, served)
        self.tell(record)
        return record

    def launched(self, began):
        """When the stray client launched its bad kernel, in seconds from its start, by its own log; None: not told."""
        began_at = time.time() - (time.monotonic() - began)
        try:
            with open(f"{self.group.root}/stray.log") as file:
                ready = re.findall(r"^(\d+\.\d+) .*context ready", file.read(), re.M)
        except OSError:
            return None
        return round(float(ready[-1]) + 1 - began_at, 3) if ready else None

    def judge(self, case, times, record, served):
        if not record["did"]:
            return ["the harm could not be done"]
        wrong = [] if served else ["it does not serve again, or no restart was ordered"]
        owner = case.engine or "-"
        if case.fault and not record["faults"].get(f"{owner}/{case.fault}"):
            wrong.append(f"not found as {case.fault}")
        expected = {f"{owner}/{fault}" for fault in (case.fault, *case.beside)}
        wrong += [f"also found as {key}" for key in record["faults"] if key not in expected]
        if record["restarts"] != {case.restart(): 1}:
            wrong.append(f"restarts {record['restarts']}, not one {case.restart()}")
        if case.engine:
            wrong += self.judge_neighbours(case, times, record)
        return wrong

    def judge_neighbours(self, case, times, record):
        wrong = []
        for name in NAMES:
            if name == case.engine:
                continue
            failed = record["loads"][name]["failed"]
            wrong += [f"its neighbour {name} lost {failed} requests"] if failed else []
            same = times.old[name] == self.group.main(name) and times.cores[name] == self.group.core(name)
            wrong += [] if same else [f"its neighbour {name} has other processes"]
            silent = record["loads"][name]["gap_s"]
            wrong += [f"its neighbour {name} made no token for {silent} s"] if silent > 5 else []
        return wrong

    @staticmethod
    def tell(record):
        shown = ("times", "launched_s", "faults", "restarts", "exits", "refuted", "loads")
        say("   ", {key: record[key] for key in shown if record.get(key)})
        for line in record["log"][:30]:
            say("    |", line[:230])
        for line in record["wrong"]:
            say("    WRONG:", line)


def seconds(value):
    return "-" if value is None else f"{value:.2f}"


def table(record):
    """One row a case; times are seconds from the harm."""
    steps = ("noticed", "told", "old gone", "started", "serving")
    head = "".join(f"{step:>9}" for step in steps)
    lines = [f"{'harm':<20}{'found as':<28}{'restart':<26}{head}  {'other gap (before)':<20}failed: other / own"]
    for one in record["cases"]:
        own = next((case.engine for case in cases(0) if case.name == one["case"]), "")
        other = next(name for name in NAMES if name != (own or "b"))
        loads = one["loads"]
        gap = f"{loads[other]['gap_s']:.2f} ({loads[other]['gap_before_s']:.2f})" if own else "all were lost"
        failed = f"{loads[other]['failed']} / {loads[own]['failed']}" if own else \
            ", ".join(f"{name} {loads[name]['failed']}" for name in NAMES)
        found, restarts = ", ".join(one["faults"]) or "-", ", ".join(one["restarts"]) or "-"
        lines.append(f"{one['case']:<20}{found:<28}{restarts:<26}"
                     + "".join(f"{seconds(one['times'].get(step)):>9}" for step in steps)
                     + f"  {gap:<20}{failed:<20}{'WRONG' if one['wrong'] else ''}")
        if one.get("launched_s"):
            lines.append(f"{'':<20}the bad kernel was launched {one['launched_s']:.2f} s after the client's start")
    lines.append(f"left out: {', '.join(record['left_out']) or 'none'}")
    return lines
