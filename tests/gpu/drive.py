"""Runs the plan of tests/gpu over a stage: injects, waits, measures, judges. README.md says what is measured."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import report
from incident import GENERATION, LARGE, MEMORY_SLACK, OTHER_USER, ROUND, STATE, WEDGE, Case, Run
from outside import alive, grown, kill, there, wait_for
from stage import RealStage, SimulatedStage


class DeadlineReached(Exception):
    """The whole run's time is over."""


class Plan:
    """The whole run: its results so far, and what is left of its time."""

    def __init__(self, stage, options):
        self.stage, self.options = stage, options
        self.until = time.monotonic() + options.deadline
        self.revived = 0
        self.steady = None
        self.results = {"runs": [], "notes": [], "left_out": [], "idle": None, "stop": None}

    def left(self):
        return self.until - time.monotonic()

    def note(self, text):
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        self.results["notes"].append(text)

    def keep(self, run):
        record = run.record
        if record["failures"]:
            record["status"] = self.stage.status()
        self.results["runs"].append(record)
        verdict = "; ".join(record["failures"]) or "ok"
        took = f"{record['total']:.3f} s" if record.get("total") else ""
        print(f"{time.strftime('%H:%M:%S')} {record['case']} {record['run']}: {took} {verdict}", flush=True)

    # ------------------------------------------------------------ start, end, and what lies between

    def begin(self, first=True):
        """Starts the watchdog and waits until its group serves."""
        begin = time.monotonic()
        self.stage.start()
        if not self.stage.wait_ready(90):
            code = self.stage.process.poll()
            raise SystemExit(f"the group does not serve, watchdog's exit status {code}: {self.stage.status()[:2000]}")
        self.stage.progressing(self.stage.engines)
        if first:
            self.steady = self.stage.memory_used()
            self.results["start_seconds"] = time.monotonic() - begin
            self.results["steady_mib"] = self.steady

    def settled(self):
        """Makes sure that the group serves; starts the watchdog anew when it does not, three times at most."""
        if self.stage.process.poll() is None and self.stage.wait_ready(20):
            return
        self.note(f"not serving, the watchdog is started anew: {self.stage.status()[:2000]}")
        self.revived += 1
        if self.revived > 3:
            raise SystemExit("the group failed to serve too often")
        self.stage.stop(15)
        self.stage.kill_all()
        self.begin(first=False)

    def end(self):
        """SIGTERM: what is left must be nothing."""
        failures, group = [], self.stage.members()
        code, took = self.stage.stop(30)
        if code != 0:
            failures.append(f"exit status {code}, not 0")
        left = [(process.role, process.pid) for process in group if alive(process)]
        left += [(process.role, process.pid) for process in self.stage.members()]
        if left:
            failures.append(f"left running: {left}")
        if os.path.isdir(self.stage.pipe_directory) and os.listdir(self.stage.pipe_directory):
            failures.append(f"left in the pipe directory: {os.listdir(self.stage.pipe_directory)}")
        baseline, used = self.results.get("baseline_mib"), None
        if baseline is not None:
            used = self.stage.memory_used()
            if used is None or used > baseline + MEMORY_SLACK:
                failures.append(f"GPU memory {used} MiB, was {baseline}")
        self.stage.kill_all()
        self.results["stop"] = {"seconds": took, "exit": code, "memory_mib": used, "failures": failures}

    # ------------------------------------------------------------ incidents

    def recovery(self, case, number):
        """One whole-group restart, measured from the injection to serving."""
        self.settled()
        stage, run = self.stage, Run(self.stage, case.name, number)
        engine = stage.engines[number % len(stage.engines)]
        run.record["engine"] = engine.name
        begin = time.monotonic()
        if not case.act(stage, engine):
            run.wrong("the injection was not taken")
            return run
        wanted = run.before.total(GENERATION) + 1

        def serves():
            scrape = stage.scrape()
            if scrape and scrape.total(STATE, state="serving") != 1:
                run.record.setdefault("not_serving", time.monotonic() - begin)
            return scrape and scrape.total(GENERATION) >= wanted and scrape.total(STATE, state="serving") == 1

        if not wait_for(serves, case.limit):
            run.wrong(f"not serving after {case.limit} s")
            return run
        run.record["total"] = time.monotonic() - begin
        self.judge_recovery(run, case)
        return run

    def judge_recovery(self, run, case):
        stage, total = self.stage, "mps_recoveries_total"
        had = run.before.total(total, tier=case.tier)
        counted = lambda scrape: scrape and scrape.total(total, tier=case.tier) > had and scrape
        after = wait_for(lambda: counted(stage.scrape()), 2) or stage.scrape()
        if after is None:
            run.wrong("no metrics")
            return
        run.read(after)
        record = run.record
        run.expect("generations", record["generations"], 1)
        run.expect(f"faults {case.fault}", record["faults"].get(case.fault, 0), 1)
        whole = {tier: count for tier, count in record["restarts"].items() if tier != "engine"}
        run.expect("whole-group restarts", whole, {case.tier: 1})
        run.expect("recoveries serving", record["recoveries"]["serving"].get(case.tier, 0), 1)
        if not stage.ready():
            run.wrong("/-/ready says no")
        run.judge_processes(case.renewed, case.kept)
        run.judge_memory(self.steady)
        run.judge_progress(stage.engines)

    def foreign(self, number):
        """A process outside MPS faults beside the group: nothing may change."""
        self.settled()
        stage, run = self.stage, Run(self.stage, "foreign process", number)
        code = stage.foreign("trap" if number % 2 else "illegal-address")
        if code == "absent":
            return None
        if code != 3 and not stage.simulated:
            run.wrong(f"the foreign process ended with {code}, not by its fault")
        run.judge_progress(stage.engines)
        after = stage.scrape()
        if after is None:
            run.wrong("no metrics")
            return run
        run.read(after)
        record = run.record
        run.expect("generations", record["generations"], 0)
        run.expect("restarts", record["restarts"], {})
        record["faults"].pop("foreign_process", None)  # true, and harmless
        run.expect("faults", record["faults"], {})
        run.expect("serving", after.total(STATE, state="serving"), 1)
        run.judge_processes((), ("control", "server", "engine"))
        run.judge_memory(self.steady)
        return run

    def idle_engine(self, number):
        """SIGKILL of the main process of an engine without work: it alone is started again."""
        self.settled()
        stage = self.stage
        engine = stage.engines[number % len(stage.engines)]
        others = [other for other in stage.engines if other is not engine]
        stage.load(engine, False)
        seen = [-1, stage.tokens(engine)]

        def still():
            seen[:] = [seen[1], stage.tokens(engine)]
            return seen[0] == seen[1]

        wait_for(still, 5, 0.1)
        run = Run(stage, "idle engine killed", number)
        run.record["engine"] = engine.name
        engines = [process for process in run.members if process.role == "engine"]
        leaders = [process for process in engines if process.pid == process.session]
        main = next((process for process in leaders if process.name == engine.name), None)
        if main is None:
            run.wrong("its main process is not found: no session leader of that name")
            stage.load(engine, True)
            return run
        own = [process for process in engines if process.session == main.session]
        begin = time.monotonic()
        kill(main)
        had = run.before.total("mps_recoveries_total", tier="engine", result="serving")

        def back():
            scrape = stage.scrape()
            done = scrape and scrape.total("mps_recoveries_total", tier="engine", result="serving") > had
            return scrape if done and scrape.total(STATE, state="serving") == 1 else None

        after = wait_for(back, 60)
        stage.load(engine, True)
        if not after:
            run.wrong("not serving after 60 s")
            return run
        run.record["total"] = time.monotonic() - begin
        run.read(after)
        record = run.record
        run.expect("generations", record["generations"], 0)
        run.expect("faults", record["faults"], {"engine_died": 1})
        run.expect("restarts", record["restarts"], {"engine": 1})
        if not wait_for(lambda: not any(there(process) for process in own), 2):
            run.wrong(f"its old processes are there: {[process.pid for process in own if there(process)]}")
        kept = [process for process in run.members if process not in own]
        if not all(alive(process) for process in kept):
            run.wrong("others were harmed")
        run.judge_memory(self.steady)
        run.judge_progress(others)
        return run

    def idle(self, seconds):
        """What the watchdog costs while nothing happens and nobody asks it anything."""
        self.settled()
        stage = self.stage
        for engine in stage.engines:
            stage.load(engine, False)
        time.sleep(3)  # the aftermath of the last incident is over
        count, pid = lambda: stage.scrape().by("mps_control_commands_total", "result"), stage.process.pid
        before = count()
        spent, begin = cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        cpu = (cpu_seconds(pid) - spent) / (time.monotonic() - begin)
        commands = grown(before, count())
        for engine in stage.engines:
            stage.load(engine, True)
        found = {"seconds": seconds, "cpu_ratio": cpu, "resident_mib": resident(pid), "commands": commands}
        found["nvml_mib"] = 0.0 if stage.simulated else nvml_share()
        found["failures"] = []
        if cpu >= 0.002:
            found["failures"].append(f"CPU {cpu:.2%} of a core, not under 0.2 %")
        own = found["resident_mib"] - found["nvml_mib"]
        if not own < 20:
            found["failures"].append(f"resident {own:.1f} MiB without NVML's own, not under 20")
        if sum(commands.values()) > seconds / 10 + 1:
            found["failures"].append(f"{sum(commands.values()):.0f} control commands in {seconds} s")
        self.results["idle"] = found
        self.note(f"idle: {found}")

    def repeat(self, act, case, number, reserve):
        """One run, unless less than `reserve` seconds are left or the last two of this case could not be judged."""
        name = case.name if isinstance(case, Case) else case
        last = [run for run in self.results["runs"] if run["case"] == name][-2:]
        hopeless = len(last) == 2 and all("generations" not in run for run in last)
        if hopeless or self.left() < reserve:
            self.results["left_out"].append(f"{name} {number}")
            return
        run = act(case, number) if isinstance(case, Case) else act(number)
        if run:
            self.keep(run)

    def carry_out(self):
        """The whole plan, in the order in which its parts matter."""
        runs, stage = self.options.runs, self.stage
        stage.configure()
        if not stage.simulated:
            self.results["baseline_mib"] = stage.memory_used()
        self.begin()
        self.note(f"serving after {self.results['start_seconds']:.2f} s, {self.steady} MiB in use")
        for case in ROUND:
            self.repeat(self.recovery, case, 0, 120)
        for number in range(runs):
            self.repeat(self.foreign, "foreign process", number, 120)
        for number in range(min(5, runs)):
            self.repeat(self.idle_engine, "idle engine killed", number, 120)
        if self.left() > self.options.idle + 60:
            self.idle(self.options.idle)
        else:
            self.results["left_out"].append("idle")
        for number in range(1, runs):
            for case in ROUND:
                self.repeat(self.recovery, case, number, 130)
        self.results["resident_mib_last"] = resident(stage.process.pid)
        self.repeat(self.recovery, WEDGE, 0, 100)
        self.end()
        if stage.simulated:
            return
        for name, part, need in (("another user", self.another_user, 80), ("large memory", self.large, 60)):
            if self.left() > need:
                part()
            else:
                self.results["left_out"].append(name)

    def another_user(self):
        """Engines of another user than the watchdog's: the server is started for them, and they attach."""
        first = self.results["stop"]
        self.stage.configure(user="nobody")
        self.begin(first=False)
        self.steady = self.stage.memory_used()
        self.repeat(self.recovery, OTHER_USER, 0, 30)
        self.end()
        self.results["stop_other_user"], self.results["stop"] = self.results["stop"], first

    def large(self):
        """The same recovery with three engines of 40 GiB, under a second configuration."""
        first = self.results["stop"]
        self.stage.configure(memory=(40, 40, 40), large=True)
        self.begin(first=False)
        self.steady = self.stage.memory_used()
        for number in range(3):
            self.repeat(self.recovery, LARGE, number, 30)
        self.end()
        self.results["stop_large"], self.results["stop"] = self.results["stop"], first


NVML_SHARE = """
import ctypes
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))
library, before = ctypes.CDLL("libnvidia-ml.so.1"), resident()
assert library.nvmlInit_v2() == 0
print((resident() - before) / 1024)
"""


def nvml_share():
    """MiB that nvmlInit alone makes resident in any process, here a fresh Python."""
    try:
        command = [sys.executable, "-c", NVML_SHARE]
        return float(subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0.0


def cpu_seconds(pid):
    """CPU time of all threads, those that ended too: the process's own clock, exact to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)


def resident(pid):
    """Resident memory in MiB."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return float("nan")


def described(watchdog):
    """What was tested, and where."""
    ask = {
        "watchdog": [watchdog, "--version"],
        "gpu": ["nvidia-smi", "--query-gpu=name,driver_version,compute_mode", "--format=csv,noheader"],
        "kernel": ["uname", "-r"],
    }
    found = {"when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}
    for key, command in ask.items():
        try:
            found[key] = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError) as problem:
            found[key] = str(problem)
    return found


def keep_kernel_log(out):
    """The driver's lines of the kernel log."""
    try:
        lines = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=10, errors="replace").stdout
    except (OSError, subprocess.SubprocessError):
        return
    with open(os.path.join(out, "kmsg.log"), "w") as file:
        file.writelines(line + "\n" for line in lines.splitlines() if "NVRM" in line or "Xid" in line)


def write(plan, out):
    """Everything found, as JSON and as tables."""
    with open(os.path.join(out, "results.json"), "w") as file:
        json.dump(plan.results, file, indent=1, sort_keys=True)
    with open(os.path.join(out, "tables.md"), "w") as file:
        file.write(report.markdown(plan.results))


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", action="store_true", help="over a simulated GPU: see README.md")
    parser.add_argument("--watchdog", default=os.environ.get("MPSWARDEN", "target/release/mpswarden"))
    parser.add_argument("--engine", help="the compiled engine.cu")
    parser.add_argument("--out", required=True, help="folder for logs and results")
    parser.add_argument("--runs", type=int, default=10, help="of each case")
    parser.add_argument("--idle", type=float, default=30, help="seconds to watch the idle watchdog")
    parser.add_argument("--deadline", type=float, default=540, help="seconds for everything")
    return parser.parse_args()


def main():
    chosen = options()
    watchdog = os.path.abspath(chosen.watchdog)
    stage = SimulatedStage(watchdog, chosen.out) if chosen.simulated else RealStage(watchdog, chosen.out, chosen.engine)
    plan = Plan(stage, chosen)
    plan.results["about"] = described(watchdog)

    def stop(*_):
        raise DeadlineReached

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_REAL, chosen.deadline)
    problem = None
    try:
        plan.carry_out()
    except DeadlineReached:
        problem = "the time was over before the plan was"
    except (SystemExit, Exception) as error:  # whatever it is, what was found so far is kept
        problem = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if problem:
            plan.note(problem)
            plan.results["ended_early"] = problem[:300]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if stage.process:
            stage.keep_metrics()
            stage.kill_all()
        stage.keep_logs()
        keep_kernel_log(chosen.out)
        write(plan, chosen.out)
    print(report.short(plan.results))
    return 1 if problem or report.failed(plan.results) else 0


if __name__ == "__main__":
    sys.exit(main())
