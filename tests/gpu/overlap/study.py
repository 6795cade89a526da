"""The study over a real GPU: two engines of server.py, `mpswarden study` over a small grid. Prints what the study says and
a short table of gains; study.json, study.html and the study's own log go to the output folder.

usage: study.py --watchdog PATH --out DIR [--graphs] [--prompts 16,16384] [--outputs 1,64] [--concurrency 8] [--seconds 3]
       [--warm-up 1] [--repeats 2] [--probe-engines] [--deadline 400]; --dry: the configuration alone, checked
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from outside import fetch, kill, members
from stage import find_nvml

CONFIGURATION = """\
nvml_library = {nvml}
state_directory = "{root}/state"

[web]
listen_addresses = ["127.0.0.1:10678"]

[[group]]
name = "decoders"
gpu = 0
mode = "enforce"

[group.mps]
pipe_directory = "{root}/p"
log_directory = "{root}/log"
"""
PORTS = {"a": 18301, "b": 18302}
ENGINE = """
[[group.engine]]
name = "{name}"
command = {command}
url = "http://127.0.0.1:{port}"
start_timeout = "120s"
stop_timeout = "10s"
"""


def write_configuration(root, chosen):
    """Two engines of server.py, by absolute paths: the configuration's path."""
    server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
    text = CONFIGURATION.format(nvml=json.dumps(find_nvml()), root=root)
    for name, port in PORTS.items():
        command = [sys.executable, server, "--port", str(port), "--name", name, "--rows", str(chosen.rows)]
        command += ["--context", str(max(chosen.prompts) + max(chosen.outputs))]
        command += [] if chosen.graphs else ["--eager"]
        text += ENGINE.format(name=name, command=json.dumps(command), port=port)
        text += 'overlap = "probe"\n' * chosen.probe_engines
    path = f"{root}/mpswarden.toml"
    with open(path, "w") as file:
        file.write(text)
    return path


def numbers(text):
    return [int(number) for number in text.split(",")]


def run_study(path, chosen):
    """Its exit status; None when it took too long. What it says is shown and kept."""
    comma = lambda values: ",".join(map(str, values))
    command = [chosen.watchdog, "study", "--config", path, "--group", "decoders", "--out", f"{chosen.out}/study"]
    command += ["--prompts", comma(chosen.prompts), "--outputs", comma(chosen.outputs)]
    command += ["--concurrency", comma(chosen.concurrency), "--seconds", str(chosen.seconds)]
    command += ["--warm-up", str(chosen.warm_up), "--repeats", str(chosen.repeats), "--baselines", "none"]
    print(" ".join(command), flush=True)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        return process.wait(chosen.deadline)
    except subprocess.TimeoutExpired:
        print("the deadline has come: the study ends with what it has", flush=True)
        return ended(process, 40)
    finally:
        ended(process, 15)


def ended(process, seconds):
    """Ends the study in order, its engines with it: its exit status, None when it had to be killed."""
    process.send_signal(signal.SIGINT)  # nothing where it has ended
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def rates(cell, kind):
    """By engine, tokens a second of that arrangement: the median over its repeats."""
    found = {}
    for run in cell["runs"]:
        if run["arrangement"] == kind or (isinstance(run["arrangement"], dict) and kind in run["arrangement"]):
            for engine in run["engines"]:
                tokens = engine["prompt_tokens"] + engine["generation_tokens"]
                found.setdefault(engine["engine"], []).append(tokens / engine["seconds"] if engine["seconds"] else 0)
    return {name: statistics.median(values) for name, values in found.items()}


def gain(together, alone):
    """Sum over engines of rate together / rate alone; None where one is missing."""
    if not alone or set(together) != set(alone) or not all(alone.values()):
        return None
    return sum(rate / alone[name] for name, rate in together.items())


def table(study):
    """Gains cell by cell: this plan's own arithmetic, beside the report's."""
    print("\nprompt  output  in flight   alone tok/s  gain mps  gain time-sliced  one for all / alone")
    gains = []
    for cell in study["cells"]:
        alone, first = rates(cell, "alone"), rates(cell, "consolidated")
        found = [gain(rates(cell, kind), alone) for kind in ("mps", "time_sliced")]
        one = next((rate / alone[name] for name, rate in first.items() if alone.get(name)), None)
        gains.append(found[0])
        cells = ["-" if value is None else f"{value:.2f}" for value in (*found, one)]
        print(f"{cell['prompt']:6}  {cell['output']:6}  {cell['concurrency']:9}  {sum(alone.values()) / max(1, len(alone)):12.0f}"
              f"  {cells[0]:>8}  {cells[1]:>16}  {cells[2]:>19}")
    for problem in study["problems"]:
        print(f"problem: {problem}")
    return [value for value in gains if value is not None]


def judge(code, folder):
    """Whether the study is there and shows both: where sharing pays and where it does not."""
    path = f"{folder}/study.json"
    if code != 0 or not os.path.exists(path):
        print(f"FAIL the study: exit status {code}, {'a' if os.path.exists(path) else 'no'} study.json")
        return False
    with open(path) as file:
        gains = table(json.load(file))
    pays, does_not = bool(gains) and max(gains) > 1.5, bool(gains) and min(gains) < 1.15
    print(f"{'ok  ' if pays else 'FAIL'} a gain over 1.5 where the engine waits for its CPU: best {max(gains, default=0):.2f}")
    print(f"{'ok  ' if does_not else 'FAIL'} about 1 or less where one engine fills the GPU: least {min(gains, default=0):.2f}")
    return pays and does_not


def clear(root, logs):
    """Ends whatever is left of a group, keeps its logs, and removes its folder."""
    for process in members(f"{root}/p"):
        kill(process)
    if os.path.isdir(f"{root}/log"):
        shutil.copytree(f"{root}/log", logs, dirs_exist_ok=True)
    shutil.rmtree(root, ignore_errors=True)


def options():
    reading = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reading.add_argument("--watchdog", required=True, type=os.path.abspath)
    reading.add_argument("--out", required=True, type=os.path.abspath)
    reading.add_argument("--graphs", action="store_true", help="decode in CUDA graphs, not launch by launch")
    reading.add_argument("--rows", type=int, default=16)
    reading.add_argument("--prompts", type=numbers, default=[16, 16384])
    reading.add_argument("--outputs", type=numbers, default=[1, 64])
    reading.add_argument("--concurrency", type=numbers, default=[8])
    reading.add_argument("--seconds", type=float, default=3)
    reading.add_argument("--warm-up", type=float, default=1)
    reading.add_argument("--repeats", type=int, default=2)
    reading.add_argument("--probe-engines", action="store_true", help="engines carry the kernel probe")
    reading.add_argument("--deadline", type=float, default=400)
    reading.add_argument("--dry", action="store_true")
    return reading.parse_args()


def main():
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with us
    os.makedirs(chosen.out, exist_ok=True)
    root = tempfile.mkdtemp(prefix="mws", dir="/tmp")
    fine = False
    try:
        path = write_configuration(root, chosen)
        shutil.copy(path, f"{chosen.out}/study.toml")
        if chosen.dry:
            sys.exit(subprocess.run([chosen.watchdog, "check", path]).returncode)
        fine = judge(run_study(path, chosen), f"{chosen.out}/study")
        left = [process.role for process in members(f"{root}/p")]
        left += [name for name, port in PORTS.items() if fetch(f"http://127.0.0.1:{port}/health")[0]]
        fine &= not left
        print(f"{'FAIL' if left else 'ok  '} processes left: {', '.join(left) or 'none'}")
    finally:
        clear(root, f"{chosen.out}/study-log")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
