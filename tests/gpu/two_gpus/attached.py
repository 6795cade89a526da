"""mpswarden over one server with two GPUs that somebody else runs: nobody is ended whose context lives.

Eight engines, four on each GPU, then three on each and two on both. Each case is done --runs times, in turn. Under
--out: results.json (each run's facts), the logs, metrics.txt, table.md. The table comes last on stdout; exit status 1
where a run failed its judgement."""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from outside import Scrape, fetch, wait_for
from stage import find_nvml

ROOT = pathlib.Path("/tmp/mw2")  # short: a socket's path has 107 bytes
GROUP, LISTEN, PORT = "two", "127.0.0.1:10678", 18100
# Seconds for which a client stays with its error: longer than a run, so that its end is mpswarden's doing.
LINGER = "60"
# Seconds for a whole group to serve at first, and after a fault.
START_BOUND, RUN_BOUND = 90, 45

APART = {"a0": [0], "a1": [0], "a2": [0], "a3": [0], "b0": [1], "b1": [1], "b2": [1], "b3": [1]}
JOINED = {"a0": [0], "a1": [0], "a2": [0], "b0": [1], "b1": [1], "b2": [1], "c0": [0, 1], "c1": [0, 1]}
# name: (engines, culprit, its own number of the device, deed)
CASES = {
    "illegal on 0": (APART, "a0", 0, "illegal"),
    "illegal on 1": (APART, "b1", 0, "illegal"),
    "trap on 0": (APART, "a2", 0, "trap"),
    "trap on 1": (APART, "b3", 0, "trap"),
    "busy client on 0 killed": (APART, "a1", 0, "kill"),
    "two engines on both: illegal on 0": (JOINED, "a0", 0, "illegal"),
    "two engines on both: trap on 1": (JOINED, "b1", 0, "trap"),
    "two engines on both: trap on 1 by one": (JOINED, "c0", 1, "trap"),
    "two engines on both: busy client on 1 killed": (JOINED, "b2", 0, "kill"),
}

CONFIGURATION = """\
nvml_library = {nvml}
kernel_log = {kernel_log}
state_directory = "{root}/state"

[web]
listen_addresses = ["{listen}"]

[[group]]
name = "{group}"
gpu = [0, 1]
mode = "enforce"
spread = "wait"

[group.mps]
binary = {binary}
control = "attach"
pipe_directory = "{root}/p"
log_directory = "{root}/l"

[group.recovery]
budget = 1000
budget_window = "1h"
engine_budget = 1000
stable_after = "1s"
backoff = {{ first = "0s", next = "1ms", factor = 1.0, most = "1s", jitter = 0.0 }}
memory_timeout = "30s"
start_order = "parallel"
"""

ENGINE = """
[[group.engine]]
name = "{name}"
gpu = {gpu}
command = {command}
url = "http://127.0.0.1:{port}"
metrics_url = "none"
start_timeout = "60s"
stop_timeout = "5s"
drain_timeout = "0s"
"""


class Machine:
    """Two GPUs, real or simulated: where their driver is, and the client that computes on them."""

    def __init__(self, options):
        self.stage = None
        if not options.simulated:
            self.nvml, self.kernel_log, self.binary = find_nvml(), "/dev/kmsg", "nvidia-cuda-mps-control"
            self.client = options.client
            return
        place = ROOT / "sim"
        place.mkdir()
        command = [options.watchdog, "sim", "stage", str(place), "--gpus", "2"]
        self.stage = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        socket = place / "gpu.socket"
        if not wait_for(socket.exists, 30):
            raise SystemExit("the simulated GPUs do not come")
        self.nvml, self.kernel_log = str(place / "libnvidia-ml.so.1"), str(place / "kmsg")
        self.binary, self.client = str(place / "nvidia-cuda-mps-control"), str(ROOT / "client")
        words = f'#!/bin/sh\nexec {options.watchdog} sim worker "$@" --gpu {socket}\n'
        pathlib.Path(self.client).write_text(words)
        os.chmod(self.client, 0o755)

    def end(self):
        if self.stage:
            self.stage.kill()
            self.stage.wait()


class Daemon:
    """The control daemon, in the background as an administrator starts it, over every GPU."""

    def __init__(self, machine):
        self.binary, self.log = machine.binary, ROOT / "l" / "server.log"
        for part in ("p", "l"):
            (ROOT / part).mkdir()
        self.environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(ROOT / "p"),
                            "CUDA_MPS_LOG_DIRECTORY": str(ROOT / "l")}
        subprocess.run([self.binary, "-d"], env=self.environment, stdin=subprocess.DEVNULL, check=True, timeout=30)
        self.ask("start_server -uid 0")

    def ask(self, command):
        try:
            done = subprocess.run([self.binary], input=command, env=self.environment, text=True, capture_output=True,
                                  timeout=5)
            return done.stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def states(self):
        """The state of each server."""
        return [self.ask(f"get_server_status {pid}") for pid in self.ask("get_server_list").split() if pid.isdigit()]

    def end(self):
        self.ask("quit -t 1")
        pids = self.ask("get_server_list").split()
        try:
            pids.append((ROOT / "p" / "nvidia-cuda-mps-control.pid").read_text().strip())
        except OSError:
            pass
        for pid in filter(str.isdigit, pids):
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass


class Group:
    """The watchdog over one set of engines."""

    def __init__(self, options, machine, engines):
        self.engines = engines
        self.urls = {name: f"http://127.0.0.1:{PORT + place}" for place, name in enumerate(engines)}
        text = CONFIGURATION.format(nvml=json.dumps(machine.nvml), kernel_log=json.dumps(machine.kernel_log), root=ROOT,
                                    listen=LISTEN, group=GROUP, binary=json.dumps(machine.binary))
        program = str(pathlib.Path(__file__).resolve().parent / "engine.py")
        for place, (name, devices) in enumerate(engines.items()):
            command = [sys.executable, program, machine.client, LINGER, str(PORT + place)]
            text += ENGINE.format(name=name, gpu=json.dumps(devices), command=json.dumps(command), port=PORT + place)
        path = ROOT / "mpswarden.toml"
        path.write_text(text)
        shutil.rmtree(ROOT / "state", ignore_errors=True)
        self.output = open(options.out / "mpswarden.log", "ab")
        self.process = subprocess.Popen([options.watchdog, "run", "--config", str(path)], stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=self.output, start_new_session=True)

    def state(self, name):
        """Pids of an engine and its client, and its rounds; None when it does not answer."""
        status, text = fetch(self.urls[name] + "/state")
        return json.loads(text) if status == 200 else None

    def states(self):
        """Of all; None until each answers."""
        states = {name: self.state(name) for name in self.engines}
        return states if all(states.values()) else None

    def ready(self):
        return fetch(f"http://{LISTEN}/-/ready?group={GROUP}")[0] == 200

    def healthy(self):
        return all(fetch(url + "/health")[0] == 200 for url in self.urls.values())

    def stuck(self, names):
        """Those of them that come round on one of their GPUs no more."""
        def rounds():
            states = {name: self.state(name) for name in names}
            return {name: {} if state is None else state["rounds"] for name, state in states.items()}

        rounds()
        time.sleep(0.1)
        first, stuck = rounds(), set(names)

        def moved():
            after = rounds()
            for name in list(stuck):
                grown = [after[name].get(device, 0) > count for device, count in first[name].items()]
                if len(grown) == len(self.engines[name]) and all(grown):
                    stuck.discard(name)
            return not stuck

        wait_for(moved, 5, 0.1)
        return sorted(stuck)

    def scrape(self):
        status, text = fetch(f"http://{LISTEN}/metrics")
        return Scrape(text) if status == 200 else None

    def end(self, out):
        """Ends the watchdog, which ends its engines; its exit status."""
        page = self.scrape()
        if page:
            with open(out / "metrics.txt", "a") as file:
                file.write(page.text)
        self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = None
        self.output.close()
        return code


TORN = re.compile(r"Client \{PID: (\d+), .*on device (\d+) to be torn down")


def one(group, daemon, culprit, device, deed):
    """One run: its facts."""
    before = group.states()
    mark = daemon.log.stat().st_size if daemon.log.exists() else 0
    begin = time.monotonic()
    order = "long" if deed == "kill" else deed
    fetch(f"{group.urls[culprit]}/order?what={order}&device={device}", "POST")
    if deed == "kill":
        time.sleep(0.3)
        os.kill(before[culprit]["client"], signal.SIGKILL)
    joined = any(len(gpus) > 1 for gpus in group.engines.values())
    shared = {0, 1} if joined else set(group.engines[culprit])
    doomed = {name for name, gpus in group.engines.items() if shared & set(gpus)}

    def changed():
        now = {name: group.state(name) for name in group.engines}
        return {name for name, state in now.items() if state and state["pid"] != before[name]["pid"]}

    came = wait_for(lambda: changed() >= doomed and group.healthy() and group.ready(), RUN_BOUND, 0.05)
    seconds = time.monotonic() - begin
    after = {name: group.state(name) for name in group.engines}
    with open(daemon.log, "rb") as log:
        log.seek(mark)
        torn = {int(pid) for pid, _ in TORN.findall(log.read().decode("utf-8", "replace"))}
    hit = {name for name, state in before.items() if state["client"] in torn}
    hit |= {culprit} if deed == "kill" else set()
    ended = {name for name, state in after.items() if not state or state["pid"] != before[name]["pid"]}
    return {
        "seconds": round(seconds, 3), "came back": bool(came), "doomed": sorted(doomed), "hit": sorted(hit),
        "ended": sorted(ended), "ended alive": sorted(ended - hit), "left dead": sorted(hit - ended),
        "stuck": group.stuck(list(group.engines)), "server": daemon.states(),
    }


def good(run):
    """Whether nobody was ended whose context lives, and everybody serves."""
    bad = run["ended alive"] or run["left dead"] or run["stuck"]
    return run["came back"] and not bad and run["hit"] == run["doomed"] and run["server"] == ["ACTIVE"]


def table(results):
    head = "| case | runs | good | ended (each run) | serve on | all serve again after, s: p50, most |"
    lines = [head, "|---|---|---|---|---|---|"]
    for name, runs in results.items():
        if not runs:
            lines.append(f"| {name} | 0 | | | | |")
            continue
        engines = CASES[name][0]
        counts = sorted({len(run["ended"]) for run in runs})
        lives = sorted({len(engines) - len(run["ended"]) for run in runs})
        seconds = sorted(run["seconds"] for run in runs)
        spell = lambda numbers: ", ".join(map(str, numbers))
        lines.append(f"| {name} | {len(runs)} | {sum(map(good, runs))} | {spell(counts)} | {spell(lives)} "
                     f"| {seconds[len(seconds) // 2]:.2f}, {seconds[-1]:.2f} |")
    return "\n".join(lines)


def keep(out):
    """Copies the logs of daemon, server and engines."""
    for place in ("l", "state"):
        for path in (ROOT / place).rglob("*.log") if (ROOT / place).exists() else []:
            with open(path, "rb") as log, open(out / f"{place}.log", "ab") as copy:
                copy.write(f"==> {path}\n".encode())
                log.seek(max(0, path.stat().st_size - 2_000_000))
                copy.write(log.read())


def shape(options, engines, deadline, results):
    """All cases over one set of engines; what went wrong beside the runs."""
    problems = []
    machine = Machine(options)
    daemon = Daemon(machine)
    group = Group(options, machine, engines)
    try:
        def ended():
            return group.process.poll() is not None

        came = wait_for(lambda: ended() or (group.ready() and group.healthy()), START_BOUND, 0.1)
        if not came or ended():
            return [f"the group does not serve: {fetch(f'http://{LISTEN}/api/v1/status')[1][:3000]}"]
        cases = {name: case for name, case in CASES.items() if case[0] is engines}
        for number in range(options.runs):
            for name, (_, culprit, device, deed) in cases.items():
                if time.monotonic() > deadline:
                    return problems
                run = one(group, daemon, culprit, device, deed)
                results[name].append(run)
                print(f"{'good' if good(run) else 'BAD '} {name}, run {number + 1}: {json.dumps(run)}", flush=True)
                if not run["came back"]:
                    return [f"{name}: not everybody serves again: {fetch(f'http://{LISTEN}/api/v1/status')[1][:3000]}"]
    finally:
        code = group.end(options.out)
        if code != 0:
            problems.append(f"mpswarden ended with status {code}")
        daemon.end()
        keep(options.out)
        machine.end()
        time.sleep(0.5)
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--watchdog", required=True)
    parser.add_argument("--client")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--deadline", type=float, default=500)
    options = parser.parse_args()
    deadline = time.monotonic() + options.deadline
    results, problems = {name: [] for name in CASES}, []
    for engines, share in ((APART, 0.6), (JOINED, 1.0)):
        shutil.rmtree(ROOT, ignore_errors=True)
        ROOT.mkdir()
        left = deadline - time.monotonic()
        problems += shape(options, engines, time.monotonic() + left * share - RUN_BOUND * 0.2, results)
    (options.out / "results.json").write_text(json.dumps({"runs": results, "problems": problems}, indent=1))
    text = table(results)
    (options.out / "table.md").write_text(text + "\n")
    for problem in problems:
        print("PROBLEM:", problem)
    print(text)
    fine = not problems and all(runs and all(map(good, runs)) for runs in results.values())
    print("all good" if fine else "NOT all good")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
