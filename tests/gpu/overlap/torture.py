"""A PyTorch engine that gives the kernel probe a hard time: decode steps in CUDA graphs, graphs captured anew, a cache
that is emptied, eager steps, and PyTorch's own profiler, which uses CUPTI too. Speaks as clients.py wants it.

usage: torture.py KIND      graphs, eager, capture or profiler
"""

import json
import sys
import time

import torch

from model import Decoder


def say(**what):
    print(json.dumps(what), flush=True)


def recapture(decoder):
    """A graph of a few operations, captured as PyTorch does it (mode `global`), run and dropped."""
    graph, some = torch.cuda.CUDAGraph(), torch.ones(1024, device="cuda")
    with torch.cuda.graph(graph):
        some = some * 2
    graph.replay()
    torch.cuda.synchronize()
    del graph
    torch.cuda.empty_cache()


def profiled(decoder):
    """Some steps under PyTorch's profiler: how many kernels it saw."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(50):
            decoder.step(8, 512)
    return len(profile.events())


def main():
    kind = sys.argv[1]
    decoder = Decoder(8, 512, False, kind != "eager")
    if decoder.graphs is not None:
        decoder.capture(8, 512)
    for _ in range(20):
        decoder.step(8, 512)
    say(ready=True)
    for line in sys.stdin:
        if not line.startswith("run "):
            continue
        until, done, seen = time.monotonic() + float(line[4:]), 0, []
        while time.monotonic() < until:
            decoder.step(8, 512)
            done += 1
            if kind == "capture" and done % 5 == 0:
                recapture(decoder)
            if kind == "profiler" and done % 100 == 0:
                seen.append(profiled(decoder))
        say(done=done, error=0, seen=seen[-3:], least=min(seen, default=None))
    say(ended=True)


if __name__ == "__main__":
    main()
