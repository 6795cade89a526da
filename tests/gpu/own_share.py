"""The watchdog's own share of each recovery: what neither the driver nor the engines needed.

`python3 tests/gpu/own_share.py OUT` reads what run.sh left in OUT: the steps from results.json, and from the logs how
long each engine took to its first kernel by its own clock. Steps that are the driver's (gone, active) are left out.
"""

import json
import os
import re
import sys

OWN_STEPS = ("decide", "kill", "memory", "start")
STARTED = re.compile(r" started in \S+/(\w): process (\d+)")
SERVES = re.compile(r" serving in \S+/(\w): healthy and attached")
READY = re.compile(r"^\S+ (\w) context ready in ([\d.]+) s, memory and first kernel in ([\d.]+) s \(pid (\d+)\)")
FORKED = 8  # the process with the context is the started one, or a child with one of the next pids


def restarts(path):
    """For each whole-group restart its engines, by name and pid, in order."""
    found, current, last = [], None, None
    with open(path, errors="replace") as log:
        for line in log:
            if " restart in " in line and "/" not in line.split(" restart in ")[1].split(":")[0]:
                current = []
            elif match := STARTED.search(line):
                last = (match[1], int(match[2]))
            elif SERVES.search(line) and current is not None:
                current.append(last)
            elif " serving in " in line and " ended serving after" in line and current is not None:
                found.append(current)
                current = None
    return found


def own_times(path):
    """Seconds that each engine's process needed to its first kernel, by name and pid."""
    with open(path, errors="replace") as log:
        matches = [match for match in map(READY.match, log) if match]
    return {(match[1], int(match[4])): float(match[2]) + float(match[3]) for match in matches}


def main(out):
    with open(os.path.join(out, "results.json")) as file:
        runs = [run for run in json.load(file)["runs"] if run.get("steps") and run["case"] != "idle engine killed"]
    times = own_times(os.path.join(out, "engines.log"))
    shares = {}
    for run, engines in zip(sorted(runs, key=lambda run: run["at"]), restarts(os.path.join(out, "mpswarden.log"))):
        needed = [next((times[(name, pid + n)] for n in range(FORKED) if (name, pid + n) in times), None)
                  for name, pid in engines]
        if None in needed or not needed:
            continue
        steps = run["steps"]
        before = sum(steps.get(step, 0.0) for step in OWN_STEPS)
        after = steps.get("ready", 0.0) - sum(needed)
        shares.setdefault(run["case"], []).append((before, after, len(needed)))
    print("| ms | runs | decide, kill, memory, start: p50, max | each engine's start: p50, max |\n|---|---:|---:|---:|")
    for case, values in shares.items():
        before = sorted(1000 * value[0] for value in values)
        each = sorted(1000 * value[1] / value[2] for value in values)
        middle = len(values) // 2
        print(f"| {case} | {len(values)} | {before[middle]:.1f}, {before[-1]:.1f} | {each[middle]:.1f}, {each[-1]:.1f} |")


if __name__ == "__main__":
    main(sys.argv[1])
