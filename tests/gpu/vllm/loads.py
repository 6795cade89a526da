"""Callers of one engine: one request after the other, in bursts, gone all at once, slow to read, or quoting errors.

usage: loads.py '{"port": 8001, "shape": "closed", "seconds": 20, "clients": 8, "prompt": 128, "output": 48}'
Prints one line of JSON with what came back. A process of its own, so that its threads slow nobody who measures.
"""

import http.client
import json
import random
import sys
import threading
import time

from quotes import QUOTED, requests_about

PATH = "/v1/completions"


def order(prompt, output, stream=False):
    """A request of random tokens, so that no prefix cache helps."""
    tokens = [random.randrange(5, 31000) for _ in range(prompt)]
    body = {"model": "qwen05", "prompt": tokens, "max_tokens": output, "ignore_eos": True, "temperature": 0}
    return body | ({"stream": True} if stream else {})


class Failed(Exception):
    """No whole answer came."""


class Caller:
    """One caller, who keeps the connection and opens a new one after a failure."""

    def __init__(self, port, timeout=60):
        self.port, self.timeout, self.connection = port, timeout, None

    def send(self, path, body, headers=None):
        """The head of the answer; any failure is told by an exception."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        method = "GET" if body is None else "POST"
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, {"Content-Type": "application/json"} | (headers or {}))
        return self.connection.getresponse()

    def ask(self, path, body=None, headers=None):
        """(status, text) of a whole answer."""
        try:
            answer = self.send(path, body, headers)
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise
        if answer.will_close:
            self.hang_up()
        return answer.status, text

    def stream(self, body, heard):
        """Calls `heard` at each event of a streamed answer; an answer without its end is a failure."""
        try:
            answer = self.send(PATH, body)
            if answer.status != 200:
                raise Failed(f"{answer.status} {answer.read(200)!r}")
            whole = False
            for line in answer:
                if line.startswith(b"data:"):
                    heard()
                    whole = whole or b"[DONE]" in line
                    if line.startswith(b'data: {"error"'):
                        raise Failed(line[:120].decode("utf-8", "replace"))
            if not whole:
                raise Failed("the answer ended before its end")
        except (OSError, http.client.HTTPException, Failed):
            self.hang_up()
            raise
        if answer.will_close:
            self.hang_up()

    def hang_up(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Results:
    """What all callers of one shape saw."""

    def __init__(self):
        self.lock, self.seconds, self.statuses, self.problems = threading.Lock(), [], {}, {}

    def answered(self, status, seconds):
        with self.lock:
            self.seconds.append(seconds)
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def failed(self, problem):
        key = f"{type(problem).__name__}: {problem}"[:120]
        with self.lock:
            self.problems[key] = self.problems.get(key, 0) + 1

    def summary(self):
        ranked = sorted(self.seconds) or [0.0]
        p50, p99 = (round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 3) for share in (0.5, 0.99))
        return {"answers": len(self.seconds), "p50_s": p50, "p99_s": p99, "statuses": self.statuses,
                "failed": sum(self.problems.values()), "problems": self.problems}


class Shape:
    """The callers of one engine for some seconds."""

    def __init__(self, wish):
        self.wish, self.results = wish, Results()
        self.until = time.monotonic() + wish["seconds"]

    def left(self):
        return self.until - time.monotonic()

    def one(self, caller, path, body, headers=None):
        began = time.monotonic()
        try:
            status, _ = caller.ask(path, body, headers)
            self.results.answered(status, time.monotonic() - began)
        except (OSError, http.client.HTTPException) as problem:
            self.results.failed(problem)
            time.sleep(min(0.2, max(self.left(), 0)))

    def caller(self):
        return Caller(self.wish["port"])

    def request(self):
        return order(self.wish.get("prompt", 128), self.wish.get("output", 48))

    def together(self, work, clients=None):
        """Runs `work` in so many threads; they may overrun the end by 10 s, then they are left behind."""
        threads = [threading.Thread(target=work, args=(number,), daemon=True)
                   for number in range(clients or self.wish.get("clients", 8))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(self.left(), 0) + 10)

    def closed(self):
        """Each caller one request after the other."""
        def work(_):
            caller = self.caller()
            while self.left() > 0:
                self.one(caller, PATH, self.request())
        self.together(work)

    def burst(self):
        """All at once, then a pause, again and again."""
        while self.left() > 0:
            self.together(lambda _: self.one(self.caller(), PATH, self.request()))
            time.sleep(min(self.wish.get("pause", 4), max(self.left(), 0)))

    def begin(self, caller):
        """Opens a streamed answer and reads its first event; None: it failed."""
        try:
            answer = caller.send(PATH, order(self.wish.get("prompt", 128), self.wish.get("output", 3000), True))
            answer.readline()
            return answer
        except (OSError, http.client.HTTPException) as problem:
            self.results.failed(problem)
            return None

    def gone(self):
        """All are in the middle of a long answer and hang up in the same moment; nobody calls any more after that."""
        leave = time.monotonic() + self.wish.get("after", 6)

        def work(_):
            caller = self.caller()
            answer = self.begin(caller)
            time.sleep(max(leave - time.monotonic(), 0))
            if answer is not None:
                self.results.answered(answer.status, 0.0)
                answer.close()
            caller.hang_up()

        self.together(work)
        time.sleep(max(self.left(), 0))

    def slow(self):
        """Callers who read their long answers more slowly than they are written, and leave at the end."""
        def work(_):
            caller = self.caller()
            answer = self.begin(caller)
            while answer is not None and self.left() > 0 and answer.readline():
                time.sleep(0.2)
            if answer is not None:
                self.results.answered(answer.status, 0.0)
                answer.close()
            caller.hang_up()
        self.together(work)

    def quotes(self):
        """Every quotation in every way, from the first on again when all are through."""
        callers = [self.caller() for _ in range(len(requests_about("")))]
        while self.left() > 0:
            for text in QUOTED:
                asked = requests_about(text)
                if self.left() > 0:
                    self.together(lambda number: self.one(callers[number], *asked[number]), len(asked))

    def nothing(self):
        time.sleep(max(self.left(), 0))


class Streams:
    """Callers within this process who stream one request after the other, so that gaps between tokens are seen."""

    def __init__(self, port, clients=8, prompt=128, output=48):
        self.port, self.prompt, self.output, self.on = port, prompt, output, True
        self.heard, self.done, self.failed, self.problems = [], [], [], {}
        for _ in range(clients):
            threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        caller = Caller(self.port)
        while self.on:
            try:
                caller.stream(order(self.prompt, self.output, True), lambda: self.heard.append(time.monotonic()))
                self.done.append(time.monotonic())
            except Exception as problem:  # whatever it is, it is a request without an answer
                self.failed.append(time.monotonic())
                key = f"{type(problem).__name__}: {problem}"[:120]
                self.problems[key] = self.problems.get(key, 0) + 1
                time.sleep(0.2)

    def rate(self, seconds):
        """Answers a second over the last seconds."""
        now = time.monotonic()
        return round(sum(1 for at in list(self.done) if at >= now - seconds) / seconds, 1)

    def failures(self, since):
        return sum(1 for at in list(self.failed) if at >= since)

    def longest_gap(self, since, until=None):
        """The longest time without a token to any caller."""
        until = until or time.monotonic()
        times = [since, *sorted(at for at in list(self.heard) if since <= at <= until), until]
        return round(max(later - earlier for earlier, later in zip(times, times[1:])), 3)


def main():
    wish = json.loads(sys.argv[1])
    threading.stack_size(256 * 1024)  # hundreds of callers
    shape = Shape(wish)
    getattr(shape, wish["shape"])()
    print(json.dumps(shape.results.summary()), flush=True)


if __name__ == "__main__":
    main()
