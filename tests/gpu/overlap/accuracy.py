"""How true is the kernel probe? Clients with known kernels under MPS, windows of the probe over them: shares of time
with 0, 1, 2 ... clients running, by the probe and by the GPU's own clock. Prints a table last, writes accuracy.json.

usage: accuracy.py --kernels PATH --out DIR [--probe PATH] [--windows 5] [--window 0.2] [--only 3] [--deadline 240]
       --plain: without the MPS daemon (a build of kernels.cu without CUDA)
"""

import argparse
import array
import bisect
import json
import os
import signal
import statistics
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from clients import Memory, Place, find_cupti, find_probe
from probes import Watch, shares

# Kernel length in us, and how busy each client is; then, whether its bursts are CUDA graphs. A probe that sees launches
# counts a graph as one span, the gaps between its kernels too: those cases show by how much, and are bound by nothing.
PLAIN = (
    (20, (0.1, 0.1)), (20, (0.3, 0.6)), (20, (0.9, 0.9)), (20, (0.5, 0.5, 0.5)),
    (50, (0.3, 0.3)), (50, (0.8, 0.5)),
    (100, (0.1, 0.9)), (100, (0.5, 0.5)), (100, (0.9, 0.9)), (100, (0.3, 0.6, 0.9)),
    (300, (0.5, 0.3)), (300, (0.2, 0.5, 0.8)),
    (1000, (0.5, 0.5)),
)
GRAPHS = ((20, (0.5, 0.5)), (100, (0.5, 0.5)))
CASES = [(*case, False) for case in PLAIN] + [(*case, True) for case in GRAPHS]


def bound(length):
    """Percentage points that the probe may be wrong by."""
    return 2.0 if length >= 100 else 3.0


def burst(length, busy, graph):
    """Kernels queued at once, so that launches leave enough of the time."""
    return 1 if not graph and length * (1 - busy) / busy > 15 else max(4, 200 // length)


class Truth:
    """One client's kernels by the GPU's clock, and that clock beside CLOCK_REALTIME at the run's ends."""

    def __init__(self, path, first, last):
        numbers = array.array("Q")
        with open(path, "rb") as file:
            numbers.frombytes(file.read())
        self.times = sorted(zip(numbers[0::2], numbers[1::2]))
        self.points = [(clock["realtime_ns"], clock["gpu_ns"]) for clock in (first, last)]
        self.bracket = max(first["bracket_ns"], last["bracket_ns"])

    def gpu(self, moment):
        """A moment of CLOCK_REALTIME by the GPU's clock, on the line through both points."""
        (r0, g0), (r1, g1) = self.points
        return moment + (g0 - r0) + round(((g1 - r1) - (g0 - r0)) * (moment - r0) / max(1, r1 - r0))

    @property
    def drift(self):
        """Of the GPU's clock against CLOCK_REALTIME, parts per million."""
        (r0, g0), (r1, g1) = self.points
        return ((g1 - g0) - (r1 - r0)) / max(1, r1 - r0) * 1e6

    def within(self, begin, end):
        """The kernels that touch [begin, end) of the GPU's clock."""
        first = bisect.bisect_left(self.times, (begin - 10_000_000, 0))
        return [times for times in self.times[first : bisect.bisect_left(self.times, (end, 0))] if times[1] > begin]


def matched(recorded, true):
    """Pairs of a record and the kernel whose middle lies in it, give or take its half; each by the GPU's clock."""
    middles = [(start + stop) / 2 for start, stop in true]
    pairs = []
    for start, stop in recorded:
        at = bisect.bisect_left(middles, (start + stop) / 2)
        near = min(middles[max(0, at - 1) : at + 1], key=lambda middle: abs(middle - (start + stop) / 2), default=None)
        if near is not None and abs(near - (start + stop) / 2) < (stop - start):
            pairs.append(((start, stop), true[middles.index(near, max(0, at - 1))]))
    return pairs


def judge_client(kernels, truth, begin, end):
    """The records of one client in [begin, end) of CLOCK_REALTIME against its own kernels there."""
    low, high = truth.gpu(begin), truth.gpu(end)
    recorded = [(truth.gpu(start), truth.gpu(stop)) for start, stop in sorted(kernels.times)]
    recorded = [times for times in recorded if times[0] >= low and times[1] <= high]
    true = [times for times in truth.within(low, high) if times[0] >= low and times[1] <= high]
    pairs = matched(recorded, true)
    middle = lambda values: statistics.median(values) if values else None
    return {
        "recorded": len(recorded), "true": len(true), "matched": len(pairs), "dropped": kernels.dropped,
        "longer_ns": statistics.fmean((r[1] - r[0]) - (t[1] - t[0]) for r, t in pairs) if pairs else None,
        "start_ns": middle([r[0] - t[0] for r, t in pairs]), "end_ns": middle([r[1] - t[1] for r, t in pairs]),
    }


def judge_window(window, truths):
    """One window: shares by the probe and by the truth over what all probes cover."""
    begin, end, answers = window
    row = {"ordered": end - begin, "missing": sum(1 for answer in answers if answer is None)}
    if row["missing"]:
        return row
    low, high = max(answer.covered[0] for answer in answers), min(answer.covered[1] for answer in answers)
    row |= {"covered": max(0, high - low), "late_ns": low - begin,
            "arrived_ns": max(answer.arrived for answer in answers) - end}
    if low >= high:
        return row
    at, to = truths[0].gpu(low), truths[0].gpu(high)
    row["probe"] = shares([answer.times for answer in answers], low, high)
    row["truth"] = shares([truth.within(at, to) for truth in truths], at, to)
    row["points"] = [100 * (mine - true) for mine, true in zip(row["probe"], row["truth"])]
    row["clients"] = [judge_client(answer, truth, low, high) for answer, truth in zip(answers, truths)]
    return row


def start_clients(place, chosen, watch, length, levels, graph):
    """One client for each level, ready, with its probe connected."""
    clients = []
    for number, busy in enumerate(levels):
        command = [chosen.kernels, "--length-us", str(length), "--busy", str(busy), "--graph", "yes" if graph else "no"]
        command += ["--burst", str(burst(length, busy, graph))]
        command += ["--seed", str(number + 1), "--ring", f"{place.folder}/ring{number}"]
        clients.append(place.start(command, chosen.probe, watch.path, chosen.cupti))
    firsts = [client.answer(30) for client in clients]
    probes = watch.wait_for([client.pid for client in clients], 10)
    if len(probes) < len(clients):
        raise RuntimeError("a probe did not connect within 10 s")
    return clients, firsts, probes


def measure(place, chosen, watch, memory, length, levels, graph):
    """One case: its windows, judged."""
    clients, firsts, probes = start_clients(place, chosen, watch, length, levels, graph)
    seconds = chosen.windows * (chosen.window + 0.6) + 0.5
    until = time.monotonic() + seconds
    for client in clients:
        client.order(f"run {seconds}")
    begun, windows = time.time_ns(), []
    time.sleep(0.2)  # the load runs before the first window
    while len(windows) < chosen.windows and time.monotonic() + chosen.window + 0.2 < until:
        windows.append(watch.window(probes, chosen.window))
    done = [client.answer(seconds + 30) for client in clients]
    idle = time.time_ns()
    time.sleep(0.1)  # for the memory of a client that does nothing
    lasts = [client.finish() for client in clients]
    truths = [Truth(f"{place.folder}/ring{number}", *ends) for number, ends in enumerate(zip(firsts, lasts))]
    first = windows[0][0] - 150_000_000 if windows else idle
    held = [
        {"before": memory.most(client.pid, 0, max(begun, first)), "with": memory.most(client.pid, first, idle),
         "after": memory.most(client.pid, idle, idle + 10**11)} for client in clients
    ]
    return {
        "length_us": length, "busy": levels, "graph": graph, "step_ns": firsts[0]["step_ns"], "memory_mib": held,
        "bracket_ns": [truth.bracket for truth in truths], "drift_ppm": [truth.drift for truth in truths],
        "apart_ns": [truth.points[0][1] - truths[0].gpu(truth.points[0][0]) for truth in truths],
        "unavailable": [probe.why_not for probe in probes if probe.why_not],
        "rates": [answer["done"] / answer["seconds"] for answer in done],
        "windows": [judge_window(window, truths) for window in windows],
    }


def summary(case):
    """A case in a few figures: what the table shows."""
    good = [row for row in case["windows"] if "points" in row]
    if not good:
        return None
    mean = lambda key: [statistics.fmean(column) for column in zip(*(row[key] for row in good))]
    clients = [client for row in good for client in row["clients"]]
    total = lambda key: sum(client[key] for client in clients)
    told = [client for client in clients if client["longer_ns"] is not None]
    longer = [client["longer_ns"] for client in told]
    middle = lambda key: statistics.median(client[key] for client in told) / 1e3 if told else None
    return {
        "windows": f"{len(good)}/{len(case['windows'])}", "whole": len(good) == len(case["windows"]),
        "probe": mean("probe"), "truth": mean("truth"), "points": mean("points"),
        "worst": max(abs(points) for row in good for points in row["points"]),
        "longer_us": statistics.fmean(longer) / 1e3 if longer else None,
        "start_us": middle("start_ns"), "end_us": middle("end_ns"),
        "recorded": total("recorded"), "true": total("true"), "matched": total("matched"), "dropped": total("dropped"),
        "late_ms": max(row["late_ns"] for row in good) / 1e6,
        "arrived_ms": max(row["arrived_ns"] for row in good) / 1e6,
    }


def parts(values, form):
    """A list as one cell."""
    return " ".join(form.format(value) for value in values)


def percents(values):
    return parts([100 * value for value in values], "{:5.1f}")


def print_cases(cases):
    """A row for each case: its shares, then what its records are worth."""
    print("\n  us  busy               probe 0/1/2.. %           truth %                   "
          "off by, points               worst")
    for case in cases:
        found, busy = case.get("summary"), "/".join(f"{level:.1f}" for level in case["busy"])
        begin = f"{case['length_us']:4}  {busy + ' graphs' * case['graph']:<18} "
        if not found:
            print(f"{begin} NO WINDOW: {case.get('problem') or case.get('unavailable')}")
            continue
        print(f"{begin} {percents(found['probe']):<26}{percents(found['truth']):<26}"
              f"{parts(found['points'], '{:+5.2f}'):<28} {found['worst']:5.2f}")
    print("\n  us  busy               longer  start    end us   records/true/matched  dropped  windows  late ms  "
          "frame after ms")
    for case in cases:
        found = case.get("summary")
        if found:
            busy = "/".join(f"{level:.1f}" for level in case["busy"]) + " graphs" * case["graph"]
            bias = [found[key] for key in ("longer_us", "start_us", "end_us")]
            bias = parts(bias, "{:+7.2f}") if None not in bias else "-"
            counts = f"{found['recorded']}/{found['true']}/{found['matched']}"
            print(f"{case['length_us']:4}  {busy:<18} {bias:<24} {counts:<21} {found['dropped']:8}  {found['windows']:>7}  "
                  f"{found['late_ms']:7.1f}  {found['arrived_ms']:14.1f}")


def print_verdicts(cases):
    """By kernel length, against the bounds; and the memory. True: all is well."""
    fine = True
    for graph, length in sorted({(case["graph"], case["length_us"]) for case in cases}):
        of_it = [case for case in cases if (case["graph"], case["length_us"]) == (graph, length)]
        found = [case["summary"] for case in of_it if case.get("summary")]
        worst = max((one["worst"] for one in found), default=None)
        good = len(found) == len(of_it) and worst <= bound(length) and all(one["whole"] for one in found)
        fine &= good or graph
        told = "nothing was measured"
        if found:
            mean = statistics.fmean(abs(points) for one in found for points in one["points"])
            longer = [one["longer_us"] for one in found if one["longer_us"] is not None]
            told = f"worst {worst:.2f}, mean {mean:.2f} points"
            told += f", {statistics.fmean(longer):+.2f} us a kernel" if longer and not graph else ""
        word = "note" if graph else "ok  " if good else "FAIL"
        limit = "in graphs" if graph else f"bound {bound(length):.0f}"
        print(f"{word} {length} us: {told} ({limit}) in {len(found)} of {len(of_it)} cases")
    held = [one for case in cases for one in case.get("memory_mib", ()) if None not in one.values()]
    if held:
        most = lambda key: max(one[key] - one["before"] for one in held)
        print(f"GPU memory of {len(held)} clients: {most('with'):+.0f} MiB at most with windows, {most('after'):+.0f} MiB after them")
    return fine


def options():
    reading = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reading.add_argument("--kernels", required=True)
    reading.add_argument("--out", required=True)
    reading.add_argument("--probe")
    reading.add_argument("--cupti", default=find_cupti())
    reading.add_argument("--windows", type=int, default=5)
    reading.add_argument("--window", type=float, default=0.2)
    reading.add_argument("--only", type=int, default=len(CASES), help="the first so many cases")
    reading.add_argument("--deadline", type=float, default=240)
    reading.add_argument("--plain", action="store_true")
    chosen = reading.parse_args()
    chosen.probe, chosen.kernels = find_probe(chosen.probe), os.path.abspath(chosen.kernels)
    return chosen


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with us
    chosen, cases = options(), []
    os.makedirs(chosen.out, exist_ok=True)
    until = time.monotonic() + chosen.deadline
    memory = Memory()
    with Place(chosen.out, chosen.plain) as place:
        watch = Watch(f"{place.folder}/probe.sock")
        for length, levels, graph in CASES[: chosen.only]:
            if time.monotonic() + 15 > until:
                print(f"the deadline is near: {len(cases)} of {chosen.only} cases were measured", flush=True)
                break
            try:
                case = measure(place, chosen, watch, memory, length, levels, graph)
                case["summary"] = summary(case)
            except (RuntimeError, OSError, ValueError) as problem:
                case = {"length_us": length, "busy": levels, "graph": graph, "problem": str(problem)}
                for client in place.clients:
                    client.end()
            cases.append(case)
            print(f"{length} us {levels}: {case.get('problem') or (case['summary'] or {}).get('points')}", flush=True)
        watch.close()
    memory.stop()
    with open(os.path.join(chosen.out, "accuracy.json"), "w") as file:
        json.dump({"probe": chosen.probe, "cupti": chosen.cupti, "cases": cases}, file, indent=1)
    print_cases(cases)
    known = [case for case in cases if "step_ns" in case]
    if known:
        print(f"the GPU's clock: step {known[0]['step_ns']} ns; beside CLOCK_REALTIME within "
              f"{max(max(case['bracket_ns']) for case in known) / 2000:.1f} us; clients' views apart by at most "
              f"{max(abs(apart) for case in known for apart in case['apart_ns']) / 1000:.1f} us")
    sys.exit(0 if print_verdicts(cases) and len(cases) == chosen.only else 1)


if __name__ == "__main__":
    main()
