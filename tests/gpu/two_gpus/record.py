"""What dies together where one MPS server, or two, serve two GPUs: recorded from outside, without mpswarden.

Each case is done as often as the time allows, in turn, on fresh clients. Under --out: results.json (each run's facts),
table.md, and for the first run of each case a folder with story.txt, daemon.log and kmsg.txt, in the form of
tests/fixtures/recordings."""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path("/tmp/tg")  # short: a socket's path has 107 bytes
COMMAND_BOUND = 5
START_BOUND = 15
# Seconds for which a client stays alive with its error: as long as an engine needs to notice and end.
LINGER = "0.7"
# Seconds after the deed until which errors are waited for.
SETTLED = 1.2

# name: (clients by name with their devices, daemons, culprit, device or signal's target, deed)
ALONE = {"A": [0], "a": [0], "B": [1], "b": [1]}
JOINED = {**ALONE, "C": [0, 1]}
CASES = {
    "illegal on 0": (ALONE, 1, "a", 0, "illegal"),
    "illegal on 1": (ALONE, 1, "b", 1, "illegal"),
    "trap on 0": (ALONE, 1, "a", 0, "trap"),
    "trap on 1": (ALONE, 1, "b", 1, "trap"),
    "illegal on 0, one client on both": (JOINED, 1, "a", 0, "illegal"),
    "trap on 0, one client on both": (JOINED, 1, "a", 0, "trap"),
    "trap on 1, one client on both": (JOINED, 1, "b", 1, "trap"),
    "illegal on 0 by the client on both": (JOINED, 1, "C", 0, "illegal"),
    "trap on 1 by the client on both": (JOINED, 1, "C", 1, "trap"),
    "busy client on 0 killed": (JOINED, 1, "a", 0, "kill"),
    "busy client on both killed": (JOINED, 1, "C", 0, "kill"),
    "server killed": (JOINED, 1, None, None, "kill server"),
    "daemon killed": (JOINED, 1, None, None, "kill daemon"),
    "two daemons, illegal on 0": (ALONE, 2, "a", 0, "illegal"),
    "two daemons, trap on 1": (ALONE, 2, "b", 1, "trap"),
    "two daemons, server of 0 killed": (ALONE, 2, None, None, "kill server"),
    "two daemons, daemon of 0 killed": (ALONE, 2, None, None, "kill daemon"),
}


class Story:
    """What was done and seen, with times."""

    def __init__(self):
        self.lines = []
        self.guard = threading.Lock()

    def add(self, text, at=None):
        with self.guard:
            self.lines.append((time.time() if at is None else at, text))

    def text(self):
        head = "# seconds since the epoch, what was done or seen; the daemon log beside this is as the daemon wrote it\n"
        return head + "".join(f"{at:.4f} {text}\n" for at, text in sorted(self.lines))


class Daemon:
    """A control daemon in the foreground, and its one server."""

    def __init__(self, story, number, gpus):
        self.story, self.number = story, number
        self.folder = ROOT / f"d{number}"
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("p", "l"):
            (self.folder / part).mkdir(parents=True)
        self.environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(self.folder / "p"),
                            "CUDA_MPS_LOG_DIRECTORY": str(self.folder / "l")}
        seen = {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
        self.log = open(self.folder / "daemon.log", "wb")
        self.process = subprocess.Popen(["nvidia-cuda-mps-control", "-f"], env={**self.environment, **seen},
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        story.add(f"daemon {number} started")
        until = time.time() + START_BOUND
        while not self.ask("get_server_list")[0] == 0 and time.time() < until:
            time.sleep(0.01)
        self.ask("start_server -uid 0")
        while self.state() != "ACTIVE" and time.time() < until:
            time.sleep(0.01)

    def ask(self, command):
        try:
            done = subprocess.run(["nvidia-cuda-mps-control"], input=command, env=self.environment, text=True,
                                  capture_output=True, timeout=COMMAND_BOUND)
            return done.returncode, done.stdout.strip()
        except subprocess.TimeoutExpired:
            return None, "no answer"

    def server(self):
        pids = self.ask("get_server_list")[1].split()
        return int(pids[0]) if pids and pids[0].isdigit() else None

    def state(self):
        server = self.server()
        return self.ask(f"get_server_status {server}")[1] if server else "none"

    def end(self):
        """Ends it, and whatever is left of it; waits until it is gone."""
        if self.process.poll() is None:
            self.ask("quit -t 1")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(4)
        self.process.kill()
        self.process.wait()
        subprocess.run(["pkill", "-KILL", "nvidia-cuda-mps"], check=False)
        self.log.close()


class Client:
    """A client; its lines are read by a thread."""

    def __init__(self, story, name, arguments, environment, program):
        self.story, self.name, self.lines = story, name, []
        self.process = subprocess.Popen([program, *arguments], env=environment, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        story.add(f"client {name} (pid {self.process.pid}) started: {' '.join(arguments)}")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            at, text = line.strip().split(" ", 1)
            self.lines.append((float(at), text))
            self.story.add(f"client {self.name} (pid {self.process.pid}): {text}", float(at))
        status = self.process.wait()
        self.story.add(f"client {self.name} (pid {self.process.pid}) reaped, status {status}")

    def say(self, line):
        with contextlib.suppress(BrokenPipeError, OSError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def first(self, word):
        return next(((at, text) for at, text in list(self.lines) if text.startswith(word)), None)

    def alive(self):
        return self.process.poll() is None

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(2)


def wait_for(what, bound):
    until = time.time() + bound
    while time.time() < until:
        if what():
            return True
        time.sleep(0.005)
    return False


def code_of(text):
    return int(text.split("code=")[1].split()[0]) if "code=" in text else None


class Recorder:
    def __init__(self, program, out):
        self.program, self.out = program, out
        listed = subprocess.run(["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], text=True, timeout=30,
                                capture_output=True, check=True)
        self.gpus = listed.stdout.split()
        self.daemons, self.shape = [], None

    def bring_up(self, story, count):
        """The daemons of a case: those of the run before where they are as they should be."""
        well = self.shape == count and all(one.process.poll() is None and one.state() == "ACTIVE" for one in self.daemons)
        if not well:
            self.take_down()
            gpus = [None] if count == 1 else self.gpus[:2]
            self.daemons, self.shape = [Daemon(story, number, gpu) for number, gpu in enumerate(gpus)], count
        for one in self.daemons:
            one.story = story

    def take_down(self):
        for one in self.daemons:
            one.end()
        self.daemons, self.shape = [], None

    def client(self, story, name, devices, linger):
        """A client of the daemon that has its first device; beside a daemon of its own GPU that device is number 0."""
        if self.shape == 1:
            daemon, numbers = self.daemons[0], devices
        else:
            daemon, numbers = self.daemons[devices[0]], [0]
        return Client(story, name, [linger, *map(str, numbers)], daemon.environment, self.program)

    def newcomer(self, story, name, device):
        began = time.time()
        one = self.client(story, name, [device], "once")
        try:
            one.process.wait(6)
        except subprocess.TimeoutExpired:
            one.end()
            return {"result": "hangs", "seconds": round(time.time() - began, 3)}
        one.reader.join(2)
        error = one.first("error")
        return {"result": code_of(error[1]) if error else "enters", "seconds": round(time.time() - began, 3)}

    def run(self, case, keep):
        clients, count, culprit, device, deed = CASES[case]
        story = Story()
        self.bring_up(story, count)
        marks = [one.folder.joinpath("daemon.log").stat().st_size for one in self.daemons]
        kmsg = kernel_lines()
        up = {name: self.client(story, name, devices, LINGER) for name, devices in clients.items()}
        try:
            facts = self.judge(story, case, up)
        finally:
            for one in up.values():
                one.end()
        facts["active again"] = wait_for(lambda: all(one.state() in ("ACTIVE", "none") for one in self.daemons), 8)
        facts["xids"] = [line for line in kernel_lines()[len(kmsg):] if "Xid" in line]
        logs = [one.folder.joinpath("daemon.log").read_bytes()[mark:] for one, mark in zip(self.daemons, marks)]
        facts["log"] = [line for log in logs for line in telling(log.decode(errors="replace"))]
        if keep:
            folder = self.out / case.replace(" ", "_").replace(",", "")
            folder.mkdir(parents=True, exist_ok=True)
            folder.joinpath("story.txt").write_text(story.text())
            folder.joinpath("kmsg.txt").write_text("".join(f"{line}\n" for line in facts["xids"]))
            for number, log in enumerate(logs):
                folder.joinpath("daemon.log" if number == 0 else f"daemon{number}.log").write_bytes(log)
        return facts

    def judge(self, story, case, up):
        clients, _count, culprit, device, deed = CASES[case]
        ready = lambda: all(sum(text.startswith("ready") for _, text in list(one.lines)) == len(clients[name])
                            for name, one in up.items())
        if not wait_for(ready, START_BOUND):
            return {"failed": "not all clients got ready"}
        server = self.daemons[0].server()
        time.sleep(0.1)
        self.order(story, up, culprit, device, deed, server)
        began = time.time()
        states, news = [], {}
        asked = threading.Thread(target=self.follow, args=(states, began), daemon=True)
        asked.start()
        time.sleep(0.35)
        # While those that were hit are still there: may others enter?
        news["during"] = {device: self.newcomer(story, f"D{device}", device) for device in (0, 1)}
        time.sleep(max(0, began + SETTLED - time.time()))
        for one in up.values():
            one.say("rounds")
        time.sleep(0.1)
        before = {name: counts(one) for name, one in up.items()}
        time.sleep(0.3)
        for one in up.values():
            one.say("rounds")
        time.sleep(0.1)
        moving = {name: one.alive() and sum(counts(one)) > sum(before[name]) for name, one in up.items()}
        news["after"] = {device: self.newcomer(story, f"E{device}", device) for device in (0, 1)}
        asked.join(10)
        errors = {name: error_of(one, began) for name, one in up.items()}
        return {"errors": errors, "works on": moving, "newcomers": news, "states": states}

    def order(self, story, up, culprit, device, deed, server):
        if deed == "kill server":
            story.add(f"SIGKILL to the server, pid {server}")
            os.kill(server, signal.SIGKILL)
        elif deed == "kill daemon":
            story.add(f"SIGKILL to the control daemon, pid {self.daemons[0].process.pid}")
            self.daemons[0].process.kill()
        elif deed == "kill":
            for number in devices_of(up, culprit):
                up[culprit].say(f"long {number}")
            time.sleep(0.3)
            story.add(f"SIGKILL to client {culprit}, a kernel of 20 s in flight")
            up[culprit].process.kill()
        else:
            number = device if self.shape == 1 else 0
            up[culprit].say(f"{deed} {number}")

    def follow(self, states, began):
        """The servers' states, as they change, for two seconds."""
        last = None
        while time.time() < began + 2.2:
            now = [one.state() for one in self.daemons]
            if now != last:
                states.append([round(time.time() - began, 3), *now])
                last = now
            time.sleep(0.01)


def devices_of(up, culprit):
    return [text.split("device=")[1] for _, text in up[culprit].lines if text.startswith("ready")]


def counts(one):
    last = {}
    for _, text in list(one.lines):
        if text.startswith("rounds"):
            last[text.split("device=")[1].split()[0]] = int(text.split("count=")[1])
    return list(last.values()) or [0]


def error_of(one, began):
    found = [(at, text) for at, text in list(one.lines) if text.startswith("error")]
    return [[round(at - began, 3), text.split("device=")[1].split()[0], code_of(text)] for at, text in found]


def telling(log):
    words = ("fatal GPU error", "torn down", "will be reset", "sticky error", "Refusing", "teardown", "Destroy server",
             "Creating server context")
    return [line.split("] ", 1)[-1] for line in log.splitlines() if any(word in line for word in words)]


def kernel_lines():
    done = subprocess.run(["dmesg"], text=True, capture_output=True, timeout=20, errors="replace")
    return done.stdout.splitlines()


def summary(results):
    """A row a case: how often each client failed, with which codes; who entered; the server's state."""
    rows = ["| case | runs | A | a | B | b | C | newcomer at 0.35 s on 0 / on 1 | after on 0 / on 1 | states seen |",
            "|---|---:|---|---|---|---|---|---|---|---|"]
    for case, runs in results.items():
        good = [run for run in runs if "errors" in run]
        cells = [case, f"{len(good)}" + (f" ({len(runs) - len(good)} failed)" if len(good) < len(runs) else "")]
        for name in "AaBbC":
            cells.append(fate(name, good) if any(name in run["errors"] for run in good) else "")
        for when in ("during", "after"):
            seen = [collections.Counter(str(run["newcomers"][when][device]["result"]) for run in good) for device in (0, 1)]
            cells.append(" / ".join(", ".join(f"{what} {times}" for what, times in one.items()) for one in seen))
        states = collections.Counter(word for run in good for word in {s for row in run["states"] for s in row[1:]})
        cells.append(", ".join(f"{word} {times}" for word, times in states.items()))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def fate(name, runs):
    fates = collections.Counter()
    for run in runs:
        errors = run["errors"].get(name, [])
        if errors:
            fates["+".join(sorted({str(error[2]) for error in errors}))] += 1
        else:
            fates["works on" if run["works on"].get(name) else "ends or stands"] += 1
    return ", ".join(f"{what} {times}" for what, times in fates.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--deadline", type=float, default=520)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    until = time.time() + asked.deadline
    recorder = Recorder(asked.client, asked.out)
    results = {case: [] for case in CASES}
    # Cases of one shape come together: the daemons stay. Rounds: a run that is cut off has as many of each.
    rounds = [(count, case) for count in range(asked.runs) for case in CASES]
    for count, case in rounds:
        if time.time() > until:
            print(f"the time is over at round {count + 1}, {case}", flush=True)
            break
        try:
            facts = recorder.run(case, count == 0)
        except Exception as error:  # one run that goes wrong costs that run
            facts = {"failed": repr(error)}
            recorder.take_down()
        results[case].append(facts)
        if "failed" in facts:
            print(case, facts["failed"], flush=True)
    recorder.take_down()
    asked.out.joinpath("results.json").write_text(json.dumps(results, indent=1))
    asked.out.joinpath("table.md").write_text(summary(results))
    print(summary(results))


if __name__ == "__main__":
    main()
