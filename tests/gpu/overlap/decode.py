"""A decode loop by order: `run SECONDS` on its stdin, steps and seconds as a JSON line. See clients.py for the talk.

usage: decode.py [--batch 8] [--context 512] [--eager] [--cpu]
"""

import argparse
import json
import os
import sys
import time

from model import Decoder


def say(**what):
    print(json.dumps(what), flush=True)


def run(model, batch, context, seconds):
    """Steps for that long, each one's tokens read before the next, as engines do."""
    model.positions.fill_(context // 2)
    steps, begin = 0, time.monotonic()
    while time.monotonic() < begin + seconds:
        model.step(batch, context)
        steps += 1
    say(done=steps, seconds=time.monotonic() - begin)


def main():
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--batch", type=int, default=8)
    reading.add_argument("--context", type=int, default=512)
    reading.add_argument("--eager", action="store_true")
    reading.add_argument("--cpu", action="store_true")
    chosen = reading.parse_args()
    model = Decoder(chosen.batch, chosen.context, chosen.cpu, not chosen.eager)
    if model.graphs is not None:
        model.capture(chosen.batch, chosen.context)
    for _ in range(20):
        model.step(chosen.batch, chosen.context)
    say(ready=True, pid=os.getpid())
    for line in sys.stdin:
        if line.startswith("run "):
            run(model, chosen.batch, chosen.context, min(float(line[4:]), 120))
    say(ended=True)


if __name__ == "__main__":
    main()
