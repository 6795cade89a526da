"""Changing load on two engines of which none fails: nothing may be found."""

import json
import os
import re
import subprocess
import sys
import time

from group import NAMES, say
from quotes import MARK
from watch import Watch, kinds

# Lines that tell of something found. What an engine printed is told too, and nothing follows from it.
BAD_EVENT = re.compile(r'event="(source_down|failing|restart|exited|backoff|suspects|xid)"')
HERE = os.path.dirname(os.path.abspath(__file__))


def both(**shape):
    return {name: shape for name in NAMES}


def phases(hang_after):
    """(name, seconds, shape of each engine's callers). Silence after callers have gone lasts longer than a hang takes:
    vLLM's figures stay as they were meanwhile."""
    silent = {"shape": "gone", "clients": 106, "output": 3000, "after": 6}
    quiet = hang_after + 17
    steady = {"shape": "closed", "clients": 8, "prompt": 128, "output": 48}
    full = {"shape": "closed", "clients": 256, "prompt": 128, "output": 256}
    return [
        ("idle", 20, {}),
        ("steady", 35, both(**steady)),
        ("errors quoted", 45, both(shape="quotes")),
        ("all callers gone", quiet, both(**silent)),
        ("bursts", 35, both(shape="burst", clients=128, prompt=64, output=16, pause=4)),
        ("long prompts", 35, both(shape="closed", clients=16, prompt=3900, output=32)),
        ("a full, b idle", 35, {"a": full}),
        ("a's callers gone, b steady", quiet, {"a": silent, "b": steady}),
        ("slow readers", 35, both(shape="slow", clients=12, output=3000)),
        ("one token each", 25, both(shape="closed", clients=64, prompt=16, output=1)),
        ("longer than the batch", 35, both(shape="closed", clients=400, prompt=256, output=128)),
        ("b full, a idle", 25, {"b": full}),
    ]


class Calm:
    """The phases one after another, until the time is over."""

    def __init__(self, group, options, left):
        self.group, self.options, self.left = group, options, left
        self.record = {"phases": [], "left_out": [], "wrong": [], "notes": []}

    def run(self, seconds):
        until = time.monotonic() + min(seconds, self.left() - 10)  # callers may overrun their phase
        log_at, watch = self.group.log_size(), Watch(self.group)
        try:
            time.sleep(1)
            self.rounds(watch, until)
        finally:
            self.record["refuted"] = watch.refuted()
            watch.enter("after")
            watch.stop()
            self.judge(watch, log_at)
        return self.record

    def rounds(self, watch, until):
        """A second round begins with the phases that are most likely to deceive."""
        every = phases(self.options.hang_after)
        whole = sum(seconds for _, seconds, _ in every)
        scale = min(1.0, (until - time.monotonic()) / whole)
        first = [self.scaled(phase, scale) for phase in every]
        for number, (name, seconds, shapes) in enumerate(first + first[2:] + first):
            if until - time.monotonic() < min(seconds, 10):
                if number < len(first):
                    self.record["left_out"] += [name for name, _, _ in first[number:]]
                return
            self.phase(watch, name, min(seconds, until - time.monotonic()), shapes)

    def scaled(self, phase, scale):
        name, seconds, shapes = phase
        least = self.options.hang_after + 10 if "gone" in name else 3
        return name, max(seconds * scale, least), shapes

    def phase(self, watch, name, seconds, shapes):
        watch.enter(name)
        began, tokens = time.monotonic(), self.tokens()
        answers = self.load(shapes, seconds)
        took = time.monotonic() - began
        grown = {engine: round((self.tokens()[engine] - tokens[engine]) / took) for engine in NAMES}
        seen = watch.enter("between")
        row = {"phase": name, "seconds": round(took, 1), "load": answers, "tokens_s": grown, **seen}
        self.record["phases"].append(row)
        say(phase_line(row))

    def load(self, shapes, seconds):
        """What the callers of each engine saw; none of them outlives this."""
        callers = {engine: self.call(engine, shape, seconds) for engine, shape in shapes.items()}
        try:
            time.sleep(seconds)
            return {engine: self.result(process) for engine, process in callers.items()}
        finally:
            for process in callers.values():
                process.kill()
                process.wait(10)

    def tokens(self):
        page = self.group.scrape()
        return {engine: page.total("mps_engine_tokens_total", engine=engine) for engine in NAMES}

    def call(self, engine, shape, seconds):
        wish = shape | {"port": self.group.ports[engine], "seconds": max(seconds - 1, 1)}
        return subprocess.Popen([sys.executable, os.path.join(HERE, "loads.py"), json.dumps(wish)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def result(process):
        try:
            text, _ = process.communicate(timeout=12)
            return json.loads(text)
        except (subprocess.TimeoutExpired, ValueError) as problem:
            return {"answers": 0, "failed": 0, "problems": {f"the callers themselves: {problem}"[:120]: 1}}

    # ---------------------------------------------------------------- judgement

    def wrong(self, what):
        self.record["wrong"].append(what)

    def judge(self, watch, log_at):
        record = self.record
        record["events"], record["pages"] = watch.events, watch.pages
        for event in watch.events:
            if not event["well"]:
                self.wrong(f"{event['what']} was {event['is']} while {event['phase']}")
        lines = self.group.said(log_at)
        record["log"] = [line for line in lines if " ERROR " in line or " WARN " in line]
        for line in record["log"]:
            bad = " ERROR " in line or BAD_EVENT.search(line)
            (record["wrong"] if bad else record["notes"]).append(f"its log: {line[:300]}")
        record["kinds"] = kinds(self.group.scrape())
        if self.group.gpu.real and record["kinds"] != {name: "vllm" for name in NAMES}:
            self.wrong(f"engines are taken for {record['kinds']}")
        self.judge_privacy("\n".join(lines))
        if not any(row["load"] for row in record["phases"]):
            self.wrong("no load ran")
        record["wrong"] = list(dict.fromkeys(record["wrong"]))

    def judge_privacy(self, log):
        """What a user wrote stands nowhere in what the watchdog tells."""
        places = {"log": log, "metrics": self.group.scrape().text, "status": self.group.status(),
                  "incidents": self.group.order("incidents", "--json", seconds=20)[1]}
        for place, text in places.items():
            if MARK in text:
                self.wrong(f"a user's words stand in its {place}")


def load_words(answers):
    """Of one engine's callers, in short."""
    if not answers:
        return "no callers"
    words = f"{answers['answers']} answers"
    words += f", p50 {answers['p50_s']} s, p99 {answers['p99_s']} s" if answers.get("p99_s") else ""
    return words + (f", {answers['failed']} failed" if answers.get("failed") else "")


def phase_line(row):
    return f"{row['phase']}: " + "; ".join(
        f"{name}: {load_words(row['load'].get(name))}, {row['tokens_s'][name]} tokens/s" for name in NAMES)


def table(record):
    """One row a phase."""
    lines = [f"{'calm':<28}{'s':>6}{'ready':>7}{'not':>5}  {'tokens/s a, b':<16}{'running a, b':<14}"
             f"{'health a, b s':<16}{'metrics a, b s':<16}answers a, b (failed)"]
    for row in record["phases"]:
        counts, most = row["counts"], row["most"]
        well = counts.get("ready 200", 0)
        bad = sum(value for key, value in counts.items() if key.startswith("ready ")) - well
        pair = lambda what: ", ".join(f"{most.get(f'{what} {name}', 0):g}" for name in NAMES)
        asked = ", ".join("-" if name not in row["load"] else
                          f"{row['load'][name]['answers']} ({row['load'][name]['failed']})" for name in NAMES)
        tokens = ", ".join(str(row["tokens_s"][name]) for name in NAMES)
        lines.append(f"{row['phase']:<28}{row['seconds']:>6}{well:>7}{bad:>5}  {tokens:<16}{pair('running'):<14}"
                     f"{pair('health'):<16}{pair('metrics'):<16}{asked}")
    lines.append(f"kinds {record.get('kinds')}, refuted {record.get('refuted')}, "
                 f"{record.get('pages', 0)} pages of metrics read, left out: {', '.join(record['left_out']) or 'none'}")
    unknown = sorted({key for row in record["phases"] for key in row["counts"] if key.startswith("unknown ")})
    lines.append(f"unknown at times: {'; '.join(unknown) or 'nothing'}")
    return lines
