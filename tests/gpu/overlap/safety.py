"""Does the kernel probe ever harm an engine? Windows as fast as they go over engines that launch, capture, allocate and
profile from many threads, each alone under MPS. An engine that says a CUDA error, ends or loses its pace was harmed.
Prints a table last, writes safety.json.

usage: safety.py --torture PATH --out DIR [--probe PATH] [--seconds 8] [--only NAME] [--times 1] [--deadline 240]
       --quiet: no window is ordered: what the engines do to themselves
"""

import argparse
import json
import os
import sys
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from clients import Memory, Place, find_cupti, find_probe
from outside import wait_for
from probes import AHEAD, Watch

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {
    "one thread, graphs": "g", "one thread, kernels": "k", "two threads": "gk", "four threads, deep queues": "gkqq",
    "captures": "gkkc", "memory, streams": "gkms", "all at once": "gkqcms",
}


def measure(place, chosen, watch, memory, name, command):
    """One engine with windows for `seconds`: what became of both."""
    client = place.start(command, chosen.probe, watch.path, chosen.cupti)
    client.answer(60)
    probes = watch.wait_for([client.pid], 10)
    row = {"case": name, "windows": 0, "answered": 0, "kernels": 0, "covered": 0, "dropped": 0}
    client.order(f"run {chosen.seconds}")
    begun, until = time.time_ns(), time.monotonic() + chosen.seconds - 0.3
    first = None
    while chosen.quiet and time.monotonic() < until and client.process.poll() is None:
        time.sleep(0.05)
    while probes and time.monotonic() < until and client.process.poll() is None and not probes[0].lost:
        begin, end, (kernels,) = watch.window(probes, chosen.window)
        row["windows"] += 1
        if kernels:
            row["answered"] += 1
            row["kernels"] += len(kernels.times)
            row["dropped"] += kernels.dropped
            row["covered"] += (kernels.covered[1] - kernels.covered[0]) / (end - begin)
        elif probes[0].why_not:
            time.sleep(0.05)
        first = first or time.time_ns()
    try:
        row |= client.answer(30)
        row |= ended_in_a_window(client, watch, [] if chosen.quiet else probes, chosen.window)
    except (RuntimeError, OSError, ValueError) as problem:
        wait_for(lambda: client.process.poll() is not None, 5)
        row |= {"error": -1, "words": str(problem)[:200], "status": client.process.poll()}
    client.end()
    row["why_not"] = probes[0].why_not if probes else "no probe came"
    row["memory_mib"] = [memory.most(client.pid, begun - 200_000_000, begun), memory.most(client.pid, begun, first or begun),
                         memory.most(client.pid, first or begun, time.time_ns())]
    return row


def ended_in_a_window(client, watch, probes, window):
    """Ends the engine while a window is open: its status and the seconds that it took."""
    asking = threading.Thread(target=watch.window, args=(probes, window, AHEAD, 0.5), daemon=True)
    asking.start()
    time.sleep(AHEAD + window / 2)
    begun = time.monotonic()
    client.finish(30)
    asking.join(5)
    return {"status": client.process.returncode, "end_s": round(time.monotonic() - begun, 2)}


def told(row):
    share = row["covered"] / row["answered"] if row["answered"] else 0
    verdict = "well" if row["error"] == 0 and row["status"] == 0 else "HARMED"
    return (f"{row['case']:28} {verdict:7} windows {row['answered']:4} of {row['windows']:4}, covered {share:4.2f}, "
            f"kernels {row['kernels']:8}, graphs made {row.get('graphs', 0)}, without a time {row['dropped']}, MiB {row['memory_mib']}, ended in {row.get('end_s')} s, {row.get('words', '')} {row['why_not']} {row.get('seen', '')}"
            f"{'' if row['status'] == 0 else ' status ' + str(row['status'])}")


def main():
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--torture", required=True)
    reading.add_argument("--out", required=True)
    reading.add_argument("--probe")
    reading.add_argument("--window", type=float, default=0.02)
    reading.add_argument("--seconds", type=float, default=8)
    reading.add_argument("--only")
    reading.add_argument("--times", type=int, default=1)
    reading.add_argument("--quiet", action="store_true")
    reading.add_argument("--deadline", type=float, default=240)
    chosen = reading.parse_args()
    chosen.probe, chosen.cupti, until = find_probe(chosen.probe), find_cupti(), time.monotonic() + chosen.deadline
    cases = {name: [chosen.torture, kinds] for name, kinds in CASES.items()}
    for kind in ("graphs", "eager", "capture", "profiler"):
        cases[f"PyTorch, {kind}"] = [sys.executable, os.path.join(HERE, "torture.py"), kind]
    rows = []
    with Place(chosen.out) as place:
        watch, memory = Watch(f"{place.folder}/s"), Memory()
        for name, command in [*cases.items()] * chosen.times:
            if (not chosen.only or chosen.only in name) and time.monotonic() + chosen.seconds + 10 < until:
                rows.append(measure(place, chosen, watch, memory, name, command))
                print(told(rows[-1]), flush=True)
        memory.stop()
        watch.close()
    with open(os.path.join(chosen.out, "safety.json"), "w") as file:
        json.dump(rows, file, indent=1)
    harmed = [row["case"] for row in rows if row["error"] or row["status"]]
    print(f"harmed: {harmed or 'none'} of {len(rows)} engines, {sum(row['answered'] for row in rows)} windows")
    return 1 if harmed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
