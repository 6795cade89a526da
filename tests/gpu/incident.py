"""One kind of incident, what must come of it, and the judgement of one run of it from outside."""

import signal
import time
from dataclasses import dataclass

from outside import alive, grown, kill, there, wait_for

MEMORY_SLACK = 300  # MiB
STATE, GENERATION = "mps_group_state", "mps_group_generation"


@dataclass
class Case:
    """One kind of incident and what must come of it."""

    name: str
    fault: str  # as mps_faults_total spells it
    tier: str
    act: object  # (stage, engine) -> whether the injection was taken
    renewed: tuple  # roles of which no process may be the same afterwards
    kept: tuple  # roles whose processes must be the same afterwards
    limit: float = 60  # seconds until it must serve again


def inject(fault):
    return lambda stage, engine: stage.inject(fault, engine)


def signal_one(role, number):
    def act(stage, _):
        process = stage.one(role)
        if process:
            kill(process, number)
        return process is not None

    return act


def linger(stage, engine):
    return stage.linger() and stage.inject("illegal-address", engine)


ENGINES, SERVER, CONTROL = ("engine",), ("server",), ("control",)
EVERYTHING = ENGINES + SERVER + CONTROL
ROUND = [
    Case("illegal address", "gpu_fault", "clients", inject("illegal-address"), ENGINES, CONTROL),
    Case("trap", "gpu_fault", "clients", inject("trap"), ENGINES, CONTROL),
    Case("server killed", "server_died", "clients", signal_one("server", signal.SIGKILL), ENGINES + SERVER, CONTROL),
    Case("control killed", "control_died", "daemon", signal_one("control", signal.SIGKILL), EVERYTHING, ()),
    Case("lingering clients", "gpu_fault", "clients", linger, ENGINES, CONTROL),
]
WEDGE = Case("control wedged", "control_wedged", "daemon", signal_one("control", signal.SIGSTOP), EVERYTHING, (), 90)
OTHER_USER = Case("engines of another user", "gpu_fault", "clients", inject("illegal-address"), ENGINES, CONTROL)
LARGE = Case("large memory", "gpu_fault", "clients", inject("illegal-address"), ENGINES, CONTROL)


def roles(processes):
    """Process sets by role."""
    return {role: {process for process in processes if process.role == role} for role in EVERYTHING}


class Run:
    """One incident: the readings before it, what was seen, what was wrong."""

    def __init__(self, stage, case, number):
        self.stage, self.number = stage, number
        self.before = stage.scrape()
        self.members = stage.members()
        self.record = {"case": case, "run": number, "failures": [], "at": time.time()}

    def wrong(self, what):
        self.record["failures"].append(what)

    def expect(self, name, found, wanted):
        if found != wanted:
            self.wrong(f"{name}: {found}, not {wanted}")

    def growth(self, after, metric, label, **labels):
        return grown(self.before.by(metric, label, **labels), after.by(metric, label, **labels))

    def read(self, after):
        """Keeps what the watchdog measured of this incident."""
        record = self.record
        record["faults"] = self.growth(after, "mps_faults_total", "fault")
        record["restarts"] = self.growth(after, "mps_restarts_total", "tier")
        record["generations"] = after.total(GENERATION) - self.before.total(GENERATION)
        results = ("serving", "partly", "held", "superseded")
        ended = [self.growth(after, "mps_recoveries_total", "tier", result=result) for result in results]
        record["recoveries"] = dict(zip(results, ended))
        record["steps"] = self.growth(after, "mps_recovery_step_seconds_sum", "step")
        record["recovery"] = self.growth(after, "mps_recovery_seconds_sum", "tier")
        record["detection"] = self.growth(after, "mps_fault_detection_seconds_sum", "fault")
        record["commands"] = self.growth(after, "mps_control_commands_total", "result")

    def judge_memory(self, steady):
        used = self.record["memory_mib"] = self.stage.memory_used()
        if used is None or steady is None:
            self.wrong("GPU memory is unknown")
        elif used > steady + MEMORY_SLACK:
            self.wrong(f"GPU memory {used:.0f} MiB, was {steady:.0f}")

    def judge_processes(self, renewed, kept):
        before, after = roles(self.members), roles(self.stage.members())
        for role in renewed:
            left = [process.pid for process in before[role] if alive(process)]
            if left:
                self.wrong(f"old {role} processes live: {left}")
            elif not wait_for(lambda: not any(there(process) for process in before[role]), 2):
                self.wrong(f"old {role} processes are not reaped")
            self.expect(f"number of {role} processes", len(after[role]), len(before[role]))
        for role in kept:
            self.expect(f"{role} processes", pids(after[role]), pids(before[role]))

    def judge_progress(self, engines):
        stuck = self.stage.progressing(engines)
        if stuck:
            self.wrong(f"no tokens from {stuck}")


def pids(processes):
    return sorted(process.pid for process in processes)
