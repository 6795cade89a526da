"""What does the kernel probe cost? Work without it, with it but between windows, and with windows far oftener than by
default, by turns: medians of ratios within a round, 95 % intervals by bootstrap. Prints a table last, writes cost.json.

usage: cost.py --kernels PATH --out DIR [--probe PATH] [--rounds 12] [--seconds 2] [--every 0.5] [--window 0.05]
       [--period 15] [--cases decode,decodes,kernels] [--deadline 420]; without a GPU: --plain [--cpu]
"""

import argparse
import json
import os
import random
import signal
import statistics
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from clients import Place, find_cupti, find_probe, together
from probes import Watch

TITLES = {
    "decode": "a decode loop in CUDA graphs", "decodes": "two of them at once, under MPS",
    "kernels": "20 us kernels back to back",
}
# Which clients each turn runs; `again` is a second set without the probe: what chance alone does.
TURNS = {"bare": "bare", "again": "again", "quiet": "probed", "windows": "probed"}


class Set:
    """Three sets of clients, ready: without the probe, without it again, with it."""

    def __init__(self, place, chosen, watch, case):
        count = 2 if case == "decodes" else 1
        command = [chosen.kernels, "--length-us", "20", "--busy", "1"]
        if case != "kernels":
            decode = os.path.join(os.path.dirname(os.path.abspath(__file__)), "decode.py")
            command = [sys.executable, decode, "--batch", "8", "--context", "512"] + ["--cpu"] * chosen.cpu
        begin = lambda probe: [place.start(command, probe, watch.path, chosen.cupti) for _ in range(count)]
        self.clients = {"bare": begin(None), "again": begin(None), "probed": begin(chosen.probe)}
        for clients in self.clients.values():
            for client in clients:
                client.answer(90)
        self.watch, self.chosen = watch, chosen
        self.probes = watch.wait_for([client.pid for client in self.clients["probed"]], 10)
        if len(self.probes) < count:
            raise RuntimeError("a probe did not connect within 10 s")

    def turn(self, name):
        """One run: rate, and the windows that came back whole, attach and answer times among them."""
        clients, windows = self.clients[TURNS[name]], []
        if name != "windows":
            return {"rate": rate(together(clients, self.chosen.seconds)), "windows": []}
        for client in clients:
            client.order(f"run {self.chosen.seconds}")
        until, due = time.monotonic() + self.chosen.seconds - 0.15, time.monotonic() + 0.05
        while due + 0.1 + self.chosen.window < until:
            time.sleep(max(0, due - time.monotonic()))
            begin, end, answers = self.watch.window(self.probes, self.chosen.window)
            windows.append(self._told(begin, end, answers))
            due += self.chosen.every
        answers = [client.answer(self.chosen.seconds + 30) for client in clients]
        return {"rate": rate(answers), "windows": windows}

    @staticmethod
    def _told(begin, end, answers):
        if None in answers:
            return None
        return {
            "late_ms": max(answer.covered[0] for answer in answers) / 1e6 - begin / 1e6,
            "covered_ms": min(answer.covered[1] - answer.covered[0] for answer in answers) / 1e6,
            "kernels": sum(len(answer.times) for answer in answers),
            "dropped": sum(answer.dropped for answer in answers),
            "frame_ms": max(answer.arrived for answer in answers) / 1e6 - end / 1e6,
        }

    def end(self):
        for clients in self.clients.values():
            for client in clients:
                client.finish(20)


def rate(answers):
    """Steps or kernels a second, of all together."""
    return sum(answer["done"] / answer["seconds"] for answer in answers)


def measure(place, chosen, watch, case, until):
    """The rounds of one case, in two sets of processes, so that no one process's luck decides."""
    rounds = []
    for begun in range(2):
        if rounds and time.monotonic() + 30 + 4 * (chosen.seconds + 1) > until:
            break  # no time for processes and a round of theirs
        clients = Set(place, chosen, watch, case)
        for name in TURNS:  # warm, and CUPTI found and loaded
            clients.turn(name)
        for number in range(chosen.rounds // 2):
            if time.monotonic() + 4 * (chosen.seconds + 1) > until:
                break
            names = list(TURNS)
            first = (begun + number) % len(names)
            rounds.append({name: clients.turn(name) for name in names[first:] + names[:first]})
        refused = [probe.why_not for probe in clients.probes if probe.why_not]
        clients.end()
        if refused:
            raise RuntimeError(f"the probe is unavailable: {refused[0]}")
    if not rounds:
        raise RuntimeError("no time was left for a round")
    return rounds


def interval(values, draws=4000):
    """The median and its 95 % interval by bootstrap."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[round(0.025 * draws)], medians[round(0.975 * draws) - 1]


def summary(rounds, chosen):
    """Costs in percent and milliseconds, each as (median, low, high)."""
    base = lambda turns: (turns["bare"]["rate"] + turns["again"]["rate"]) / 2
    cost = lambda name, under: interval([100 * (1 - turns[name]["rate"] / under(turns)) for turns in rounds])
    lost = [
        (1 - turns["windows"]["rate"] / turns["quiet"]["rate"]) * chosen.seconds * 1000 / len(turns["windows"]["windows"])
        for turns in rounds if turns["windows"]["windows"]
    ]
    windows = [window for turns in rounds for window in turns["windows"]["windows"]]
    good = [window for window in windows if window]
    return {
        "rate": statistics.median(base(turns) for turns in rounds),
        "chance": cost("again", lambda turns: turns["bare"]["rate"]),
        "quiet": cost("quiet", base), "often": cost("windows", base),
        "window_ms": interval(lost) if lost else None,
        "default": tuple(value / chosen.period / 10 for value in interval(lost)) if lost else None,
        "windows": len(windows), "answered": len(good),
        "seen": {key: statistics.median(window[key] for window in good) for key in good[0]} if good else {},
    }


def spread(found, form):
    return "-" if found is None else f"{form.format(found[0])} ({form.format(found[1])}..{form.format(found[2])})"


def print_cases(cases, chosen):
    """The table; whether all is within the bound."""
    print(f"\ncosts in %, median (95 % interval); default: {1000 * chosen.window:.0f} ms each {chosen.period:g} s")
    print(f"{'':<32}{'rate/s':>9}  {'chance':<22}{'between windows':<22}{f'each {chosen.every:g} s':<22}"
          f"{'ms of work a window':<26}{'at default':<26}")
    fine = bool(cases)
    for case, kept in cases.items():
        found = kept.get("summary")
        if not found:
            print(f"FAIL {TITLES[case]}: {kept['problem']}")
            fine = False
            continue
        print(f"{TITLES[case]:<32}{found['rate']:9.1f}  {spread(found['chance'], '{:+.2f}'):<22}"
              f"{spread(found['quiet'], '{:+.2f}'):<22}{spread(found['often'], '{:+.2f}'):<22}"
              f"{spread(found['window_ms'], '{:.1f}'):<26}{spread(found['default'], '{:+.3f}'):<26}")
    for case, kept in cases.items():
        found = kept.get("summary")
        if not found:
            continue
        unseen = found["quiet"][1] <= max(0.1, found["chance"][2])
        cheap = found["default"] is not None and found["default"][2] + max(0, found["quiet"][0]) < 1
        whole = found["answered"] == found["windows"] > 0
        fine &= unseen and cheap and whole
        print(f"{'ok  ' if unseen else 'FAIL'} {TITLES[case]}: nothing measurable between windows")
        print(f"{'ok  ' if cheap else 'FAIL'} {TITLES[case]}: under 1 % at default, between windows included")
        seen = ", ".join(f"{key} {value:.1f}" for key, value in found["seen"].items())
        print(f"{'ok  ' if whole else 'FAIL'} {found['answered']} of {found['windows']} windows were answered; medians: {seen}")
    return fine


def options():
    reading = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reading.add_argument("--kernels", required=True)
    reading.add_argument("--out", required=True)
    reading.add_argument("--probe")
    reading.add_argument("--cupti", default=find_cupti())
    reading.add_argument("--rounds", type=int, default=12)
    reading.add_argument("--seconds", type=float, default=2)
    reading.add_argument("--every", type=float, default=0.5)
    reading.add_argument("--window", type=float, default=0.05)
    reading.add_argument("--period", type=float, default=10)
    reading.add_argument("--cases", default=",".join(TITLES))
    reading.add_argument("--deadline", type=float, default=420)
    reading.add_argument("--plain", action="store_true")
    reading.add_argument("--cpu", action="store_true")
    chosen = reading.parse_args()
    chosen.probe, chosen.kernels = find_probe(chosen.probe), os.path.abspath(chosen.kernels)
    return chosen


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with us
    chosen, cases = options(), {}
    os.makedirs(chosen.out, exist_ok=True)
    names = chosen.cases.split(",")
    begin = time.monotonic()
    with Place(chosen.out, chosen.plain) as place:
        watch = Watch(f"{place.folder}/probe.sock")
        for number, case in enumerate(names):
            until = begin + chosen.deadline * (number + 1) / len(names)
            try:
                rounds = measure(place, chosen, watch, case, until)
                cases[case] = {"summary": summary(rounds, chosen), "rounds": rounds}
            except (RuntimeError, OSError, ValueError) as problem:
                cases[case] = {"problem": str(problem)}
                for client in place.clients:
                    client.end()
            print(f"{TITLES[case]}: {cases[case].get('summary') or cases[case]['problem']}", flush=True)
        watch.close()
    with open(os.path.join(chosen.out, "cost.json"), "w") as file:
        json.dump({"options": vars(chosen), "cases": cases}, file, indent=1)
    sys.exit(0 if print_cases(cases, chosen) else 1)


if __name__ == "__main__":
    main()
