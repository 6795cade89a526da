#!/usr/bin/env python3
"""`mpswarden run` over two real vLLM engines on one real GPU, judged from outside.

  plan.py calm     changing load for minutes, of which nothing may be found
  plan.py faults   harm under load: each found under its right name, nobody else suffers
  plan.py starts   one engine three times, both at once, both staggered

Several parts are named with commas and run one after another over the same group. Results, logs and this plan's own
words are in the output folder, a table is printed last. Exit status 1: something that must hold does not.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import calm
import harms
import starts
from group import BEGAN, Group, say
from gpus import RealGpu, SimulatedGpu

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from drive import described, keep_kernel_log

PARTS = {"calm": calm.Calm, "faults": harms.Harms, "starts": starts.Starts}
TABLES = {"calm": calm.table, "faults": harms.table, "starts": starts.table}
LEAST = {"calm": 30.0, "faults": 60.0, "starts": 50.0}  # seconds with which a part is worth beginning
ENDING = 25.0  # seconds kept for an orderly end


class TimeIsUp(BaseException):
    """Nothing between may catch it."""


class Plan:
    """Starts the group, runs the parts, ends everything whatever happens."""

    def __init__(self, options):
        self.options = options
        self.results = {"about": described(options.watchdog), "wrong": []}
        self.group = self.gpu = None

    def left(self):
        """Seconds until the end must begin."""
        return self.options.deadline - ENDING - (time.monotonic() - BEGAN)

    def wrong(self, what):
        self.results["wrong"].append(what)

    def run(self):
        self.gpu = (RealGpu if self.options.engine_command is None else SimulatedGpu)(self.options)
        self.group = Group(self.gpu, self.options)
        status, text = self.check()
        if status != 0:
            return self.wrong(f"the configuration is refused: {text[-1500:]}")
        self.group.start()
        took = self.group.wait_ready(min(300, self.left()))
        if took is None:
            say("\n".join(["it does not serve:", *self.group.said()[-20:]]))
            return self.wrong("the group does not serve")
        self.results["first_start_s"] = took
        say(f"both engines serve {took} s after the watchdog's start")
        for name in self.options.parts:
            self.part(name)

    def check(self):
        command = [self.options.watchdog, "check", self.group.path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.results["configuration"] = done.stdout
        return done.returncode, done.stdout + done.stderr

    def part(self, name):
        if self.left() < LEAST[name]:
            return self.wrong(f"{name} was left out: no time")
        if self.group.wait_ready(60) is None:
            return self.wrong(f"{name} was left out: the group does not serve")
        say(f"=== {name}, {self.left():.0f} s left")
        part = PARTS[name](self.group, self.options, self.left)
        self.results[name] = part.record
        part.run(self.options.seconds) if name == "calm" else part.run()

    def end(self):
        """Whatever came before: everything is stopped, kept and written."""
        if self.group and self.group.process:
            text = self.group.scrape().text
            with open(os.path.join(self.options.out, "metrics.txt"), "w") as file:
                file.write(text)
            for what in ("status", "incidents"):
                say(what, self.group.order(what, seconds=10)[1][:3000])
            left = self.options.deadline - (time.monotonic() - BEGAN)
            ended = self.results["end"] = self.group.stop(max(left - 5, 8))
            for key, good in (("status", 0), ("left", []), ("gpu", [])):
                if ended[key] != good:
                    self.wrong(f"at the end: {key} {ended[key]}")
            self.group.keep_logs()
        if self.gpu:
            self.gpu.end()

    def write(self):
        if self.gpu and self.gpu.real:
            keep_kernel_log(self.options.out)
        with open(os.path.join(self.options.out, "results.json"), "w") as file:
            json.dump(self.results, file, indent=1, sort_keys=True)

    def report(self):
        """The tables; whether all that must hold does."""
        say(json.dumps(self.results["about"]))
        say(f"first start {self.results.get('first_start_s')} s; end {self.results.get('end')}")
        wrong = list(self.results["wrong"])
        for name in self.options.parts:
            record = self.results.get(name)
            if record is None:
                continue
            wrong += [f"{name}: {what}" for what in record["wrong"]]
            print("\n".join(["", f"--- {name}", *TABLES[name](record)]), flush=True)
        print(f"\n{len(wrong)} wrong" + "".join(f"\n  {what[:400]}" for what in wrong[:40]), flush=True)
        return not wrong


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("parts", help="calm, faults, starts; several with commas between them")
    parser.add_argument("--watchdog", default=os.environ.get("MPSWARDEN", "target/release/mpswarden"))
    parser.add_argument("--out", required=True, help="folder for logs and results")
    parser.add_argument("--kit", default="/tmp/vc", help="folder with vLLM's install.sh and serve.sh (%(default)s)")
    parser.add_argument("--stray", help="tests/gpu/engine.cu, compiled")
    parser.add_argument("--engine-command", nargs="?", const="", metavar="TEMPLATE",
                        help="over a simulated GPU: what to start instead of vLLM, with {watchdog} {name} {port} {gpu}")
    parser.add_argument("--seconds", type=float, default=480, help="calm: at most so long (%(default)s)")
    parser.add_argument("--cases", default="", help="faults: only cases with one of these words, commas between them")
    parser.add_argument("--start", choices=("sequential", "parallel", "staggered"), help="else the watchdog's default")
    parser.add_argument("--kind", help="names the engines' kind; else b's is left to the watchdog's guess")
    parser.add_argument("--hang-after", type=int, default=15, help="seconds (%(default)s)")
    parser.add_argument("--quiet-log", action="store_true", help="calm: vLLM logs no requests")
    parser.add_argument("--deadline", type=float, default=540, help="seconds for everything (%(default)s)")
    chosen = parser.parse_args()
    chosen.parts = [name for name in chosen.parts.split(",") if name]
    unknown = [name for name in chosen.parts if name not in PARTS]
    if unknown or not chosen.parts:
        parser.error(f"not known: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if chosen.engine_command is None and "faults" in chosen.parts and not chosen.stray:
        parser.error("faults needs --stray on a real GPU")
    chosen.log_requests = "calm" in chosen.parts and not chosen.quiet_log
    chosen.watchdog, chosen.out = os.path.abspath(chosen.watchdog), os.path.abspath(chosen.out)
    os.makedirs(chosen.out, exist_ok=True)
    return chosen


def main():
    chosen = options()
    say.path = os.path.join(chosen.out, "plan.log")
    plan = Plan(chosen)

    def stop(*_):
        raise TimeIsUp

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_REAL, max(chosen.deadline - ENDING + 8, 1))
    try:
        plan.run()
    except TimeIsUp:
        plan.wrong("the time was over before the plan was")
    except (SystemExit, Exception) as problem:  # whatever it is, what was found so far is kept
        plan.wrong(f"{type(problem).__name__}: {problem}"[:500])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        try:
            plan.end()
        finally:
            if plan.group:
                plan.group.kill_all()
            plan.write()
    sys.exit(0 if plan.report() else 1)


if __name__ == "__main__":
    main()
