"""Continuous batching over the decoder: requests take rows, prompts go in one at a time, then all rows step together.
The GPU's work is one process of its own, as in vLLM; it hears requests and tells tokens over a pipe."""

import ctypes
import os
import signal
import time
from collections import deque
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1
BATCHES = (1, 2, 4, 8, 16, 32)


class FakeModel:
    """Stands in for the decoder where there is no GPU: it waits as long as a small model would take."""

    def __init__(self, rows, context):
        self.rows, self.context = rows, context

    def prefill(self, row, tokens, start=0):
        time.sleep(0.002 + 4e-6 * len(tokens))
        return row

    def step(self, rows, length):
        time.sleep(0.002)
        return list(range(rows))


@dataclass
class Request:
    """One completion under way."""

    number: int
    prompt: list
    wanted: int
    taken: int = 0  # prompt tokens that the model has
    made: int = 0
    row: int = -1


class Batcher:
    """Which request has which row, and what the model does next. Tells `tell` one list a turn: (number, token, last)."""

    def __init__(self, model, chunk, tell):
        self.model, self.chunk, self.tell = model, chunk, tell
        self.waiting, self.prefilling, self.rows = deque(), None, [None] * model.rows

    def add(self, number, prompt, wanted):
        self.waiting.append(Request(number, prompt, wanted))

    def drop(self, number):
        """Its client is gone."""
        self.waiting = deque(request for request in self.waiting if request.number != number)
        if self.prefilling and self.prefilling.number == number:
            self.prefilling = None
        self.rows = [None if request and request.number == number else request for request in self.rows]
        self.tell([], self.counts())

    @property
    def idle(self):
        return not (self.waiting or self.prefilling or any(self.rows))

    def counts(self):
        """Requests that wait, requests that run, share of the cache that is taken."""
        running = [request for request in (*self.rows, self.prefilling) if request]
        held = sum(request.taken + request.made for request in running)
        return len(self.waiting), len(running), held / (self.model.rows * self.model.context)

    def turn(self):
        """A prompt, or a part of one, if there is a row for it; then a step of all that decode."""
        told = self._prefill() + self._decode()
        if told:
            self.tell(told, self.counts())

    def _prefill(self):
        if not self.prefilling and self.waiting and None in self.rows:
            self.prefilling = self.waiting.popleft()
            self.prefilling.row = self.rows.index(None)
            self.tell([], self.counts())
        request = self.prefilling
        if not request:
            return []
        part = request.prompt[request.taken :][: self.chunk or None]
        token = self.model.prefill(request.row, part, request.taken)
        request.taken += len(part)
        if request.taken < len(request.prompt):
            return []
        self.prefilling, self.rows[request.row] = None, request
        return [self._made(request, token)]

    def _decode(self):
        running = [request for request in self.rows if request]
        if not running:
            return []
        length = max(request.taken + request.made for request in running)
        tokens = self.model.step(max(request.row for request in running) + 1, length)
        return [self._made(request, tokens[request.row]) for request in running]

    def _made(self, request, token):
        request.made += 1
        last = request.made >= request.wanted
        if last:
            self.rows[request.row] = None
        return request.number, token, last


def load_model(options):
    """The decoder, its graphs captured; a stand-in with --fake."""
    if options.fake:
        return FakeModel(options.rows, options.context)
    from model import Decoder  # here: the HTTP side has no use for PyTorch

    model = Decoder(options.rows, options.context, options.cpu, not options.eager)
    if model.graphs is not None:
        for length in sorted({min(512, options.context), options.context}):
            for rows in sorted({min(batch, options.rows) for batch in BATCHES}):
                model.capture(rows, length)
    for prompt in (16, options.context // 2):  # kernels are loaded, workspaces taken
        model.prefill(0, list(range(prompt)))
        model.step(min(8, options.rows), prompt + 1)
    return model


def serve(pipe, options):
    """The GPU's process: until the pipe's other end is gone, or its parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the parent's end is the sign
    model = load_model(options)
    batcher = Batcher(model, options.prefill_chunk, lambda told, counts: pipe.send(("made", told, counts)))
    pipe.send(("ready", os.getpid()))
    try:
        while True:
            while pipe.poll(1 if batcher.idle else 0):
                order, *rest = pipe.recv()
                (batcher.add if order == "add" else batcher.drop)(*rest)
            if not batcher.idle:
                batcher.turn()
    except (EOFError, OSError):
        pass
