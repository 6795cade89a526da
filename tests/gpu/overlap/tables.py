"""Turns accuracy.json, cost.json and study/study.json into markdown for docs/h200.md. Measures nothing.

usage: tables.py FOLDER
"""

import json
import os
import sys

from accuracy import percents
from cost import TITLES, spread
from study import gain, rates


def load(*parts):
    path = os.path.join(*parts)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return json.load(file)


def accuracy(kept):
    lines = ["| kernels | busy | by the probe: 0, 1, 2 ... clients, % | by their own clock | off by at most, points | a record is longer by, us |",
             "|---|---|---|---|---:|---:|"]
    for case in kept["cases"]:
        found = case.get("summary")
        busy = ", ".join(f"{100 * level:.0f} %" for level in case["busy"])
        kernels = f"{case['length_us']} us{', in graphs' * case['graph']}"
        if found:
            longer = "" if found["longer_us"] is None or case["graph"] else f"{found['longer_us']:+.1f}"
            lines.append(f"| {kernels} | {busy} | {percents(found['probe'])} | {percents(found['truth'])} | {found['worst']:.2f} | {longer} |")
        else:
            lines.append(f"| {kernels} | {busy} | not measured | | | |")
    return lines


def cost(kept):
    chosen = kept["options"]
    often = f"a window of {1000 * chosen['window']:.0f} ms each {chosen['every']:g} s"
    lines = [f"| | rate/s | chance alone, % | between windows, % | {often}, % | work lost a window, ms | each {chosen['period']:g} s, % |",
             "|---|---:|---|---|---|---|---|"]
    for case, about in kept["cases"].items():
        found = about.get("summary")
        if found:
            cells = [spread(found[key], "{:+.2f}") for key in ("chance", "quiet", "often")]
            cells += [spread(found["window_ms"], "{:.1f}"), spread(found["default"], "{:+.3f}")]
            lines.append(f"| {TITLES[case]} | {found['rate']:.0f} | {' | '.join(cells)} |")
    return lines + ["", "Costs are medians with their 95 % interval."]


def study(kept):
    lines = ["| prompt | output | in flight, each | alone, tokens/s | gain under MPS | gain time-sliced |", "|---:|---:|---:|---:|---:|---:|"]
    for cell in kept["cells"]:
        alone = rates(cell, "alone")
        gains = [gain(rates(cell, kind), alone) for kind in ("mps", "time_sliced")]
        told = " | ".join("" if value is None else f"{value:.2f}" for value in gains)
        mean = sum(alone.values()) / max(1, len(alone))
        lines.append(f"| {cell['prompt']} | {cell['output']} | {cell['concurrency']} | {mean:.0f} | {told} |")
    return lines


def main():
    folder = sys.argv[1]
    for title, turn, parts in (
        ("How true the probe is", accuracy, ["accuracy.json"]), ("What it costs", cost, ["cost.json"]),
        ("A study", study, ["study", "study.json"]),
    ):
        kept = load(folder, *parts)
        if kept:
            print(f"### {title}\n\n" + "\n".join(turn(kept)) + "\n")


if __name__ == "__main__":
    main()
