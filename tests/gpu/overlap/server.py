"""A small OpenAI-compatible engine for the study on a real GPU: /health, /metrics in vLLM's names, /v1/models and
/v1/completions with streams, over engine.py's process. Standard library and PyTorch alone.

usage: server.py --port P [--rows 16] [--context 4224] [--eager] [--prefill-chunk N] [--cpu | --fake] [--name NAME]
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time

import engine

MODEL = "qwen2.5-0.5b-shaped"
VOCABULARY = 1000  # every prompt's tokens are folded into this many, so that a tiny model can take them too
LONGEST = 4 << 20  # of a request's body
STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 503: "Service Unavailable"}
TYPES = {"json": "application/json", "text": "text/plain; version=0.0.4", "stream": "text/event-stream"}


class Refused(Exception):
    """A request that gets an error: its status and its words."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status = status


class Front:
    """What the HTTP side knows: the engine's process, requests under way, counters."""

    def __init__(self, options, pipe, process):
        self.options, self.pipe, self.process = options, pipe, process
        self.ready, self.numbers, self.streams = False, itertools.count(1), {}
        self.waiting = self.running = 0
        self.cache, self.prompts, self.tokens, self.done = 0.0, 0, 0, 0

    def hear(self):
        """Takes what the engine told: tokens go to their streams. Its end is ours."""
        try:
            while self.pipe.poll():
                kind, *rest = self.pipe.recv()
                if kind == "ready":
                    self.ready = True
                else:
                    self._made(*rest)
        except (EOFError, OSError):
            print("server: the engine's process ended", file=sys.stderr, flush=True)
            os._exit(1)

    def _made(self, told, counts):
        self.waiting, self.running, self.cache = counts
        for number, token, last in told:
            self.tokens += 1
            self.done += last
            stream = self.streams.get(number)
            if stream:
                self.prompts += stream.begin()
                stream.put_nowait((token, last))

    def metrics(self):
        """Prometheus text in vLLM's names."""
        label, lines = f'{{model_name="{MODEL}"}}', []
        ended = f'{{finished_reason="length",model_name="{MODEL}"}}'
        for name, kind, labels, value in (
            ("num_requests_running", "gauge", label, self.running), ("num_requests_waiting", "gauge", label, self.waiting),
            ("kv_cache_usage_perc", "gauge", label, self.cache), ("prompt_tokens_total", "counter", label, self.prompts),
            ("generation_tokens_total", "counter", label, self.tokens),
            ("request_success_total", "counter", ended, self.done),
        ):
            lines.append(f"# TYPE vllm:{name} {kind}\nvllm:{name}{labels} {value}\n")
        return "".join(lines)

    def begin(self, asked):
        """Orders a completion: its number and its stream."""
        prompt, wanted = read_prompt(asked), asked.get("max_tokens", 16)
        if not isinstance(wanted, int) or wanted < 1:
            raise Refused(400, "max_tokens must be an integer of 1 or more")
        if not prompt or len(prompt) + wanted > self.options.context:
            raise Refused(400, f"prompt and max_tokens must fit in {self.options.context} tokens, the prompt not be empty")
        if not self.ready:
            raise Refused(503, "the model is being loaded")
        number = next(self.numbers)
        self.streams[number] = stream = Stream(len(prompt))
        self.waiting += 1  # until the engine says better
        self.pipe.send(("add", number, prompt, wanted))
        return number, stream

    def end(self, number, whole):
        """It is over; where its client left early, the engine must know."""
        self.streams.pop(number, None)
        if not whole:
            self.pipe.send(("drop", number))


class Stream(asyncio.Queue):
    """Tokens of one request: (token, whether it is the last)."""

    def __init__(self, prompt):
        super().__init__()
        self.prompt, self.begun = prompt, False

    def begin(self):
        """Prompt tokens to count: once, with the first token."""
        first, self.begun = not self.begun, True
        return self.prompt if first else 0


def read_prompt(asked):
    """Token ids of a prompt: a list of ids, a list with one prompt, or text, a token a byte."""
    prompt = asked.get("prompt", "")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (list, str)):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return list(prompt.encode())
    if not isinstance(prompt, list) or not all(isinstance(token, int) and token >= 0 for token in prompt):
        raise Refused(400, "prompt must be a text or a list of token ids")
    return [token % VOCABULARY for token in prompt]


def usage(stream, made):
    return {"prompt_tokens": stream.prompt, "completion_tokens": made, "total_tokens": stream.prompt + made}


class Conversation:
    """One connection: requests one after the other."""

    def __init__(self, front, reader, writer):
        self.front, self.reader, self.writer = front, reader, writer

    async def run(self):
        """Until the other side leaves or says something that is no HTTP."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            while await self._one():
                pass
        self.writer.close()

    async def _one(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:])}
        length = int(headers.get("content-length", 0))
        if length > LONGEST:
            self._say(413, json.dumps({"error": "too long"}))
            return False
        body = await self.reader.readexactly(length)
        try:
            await self._answer(method, path.partition("?")[0], body)
        except Refused as refused:
            self._say(refused.status, json.dumps({"error": {"message": str(refused), "type": "invalid_request_error"}}))
        await self.writer.drain()
        return headers.get("connection", "").lower() != "close"

    async def _answer(self, method, path, body):
        if (method, path) == ("GET", "/health"):
            self._say(200 if self.front.ready else 503, "", "text")
        elif (method, path) == ("GET", "/metrics"):
            self._say(200, self.front.metrics(), "text")
        elif (method, path) == ("GET", "/v1/models"):
            known = {"id": MODEL, "object": "model", "owned_by": "test", "max_model_len": self.front.options.context}
            self._say(200, json.dumps({"object": "list", "data": [known]}))
        elif (method, path) == ("POST", "/v1/completions"):
            await self._complete(body)
        else:
            raise Refused(404, f"{method} {path} is not here")

    def _say(self, status, text, kind="json"):
        body = text.encode()
        head = f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Type: {TYPES[kind]}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def _complete(self, body):
        try:
            asked = json.loads(body)
        except ValueError as wrong:
            raise Refused(400, f"the body is no JSON: {wrong}") from wrong
        if not isinstance(asked, dict):
            raise Refused(400, "the body is no JSON object")
        number, stream = self.front.begin(asked)
        about = {"id": f"cmpl-{number}", "object": "text_completion", "created": int(time.time()), "model": MODEL}
        whole = False
        try:
            if asked.get("stream"):
                await self._stream(stream, about, bool((asked.get("stream_options") or {}).get("include_usage")))
            else:
                await self._whole(stream, about)
            whole = True
        finally:
            self.front.end(number, whole)

    async def _whole(self, stream, about):
        tokens, last = [], False
        while not last:
            token, last = await stream.get()
            tokens.append(token)
        choice = {"index": 0, "text": text_of(tokens), "logprobs": None, "finish_reason": "length"}
        self._say(200, json.dumps(about | {"choices": [choice], "usage": usage(stream, len(tokens))}))

    async def _stream(self, stream, about, with_usage):
        """Server-sent events in HTTP chunks, one for each token."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {TYPES['stream']}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        begin, made, last = json.dumps(about)[:-1], 0, False
        while not last:
            token, last = await stream.get()
            made += 1
            reason = '"length"' if last else "null"
            self._event(f'{begin}, "choices": [{{"index": 0, "text": "{text_of([token])}", "logprobs": null, '
                        f'"finish_reason": {reason}}}]}}')
            if self.writer.is_closing():
                raise ConnectionResetError
            await self.writer.drain()
        if with_usage:
            self._event(json.dumps(about | {"choices": [], "usage": usage(stream, made)}))
        self._event("[DONE]")
        self.writer.write(b"0\r\n\r\n")

    def _event(self, data):
        event = f"data: {data}\n\n".encode()
        self.writer.write(b"%x\r\n%b\r\n" % (len(event), event))


def text_of(tokens):
    return "".join(f" t{token}" for token in tokens)


async def serve_http(front):
    """Until SIGTERM or SIGINT."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    loop.add_reader(front.pipe.fileno(), front.hear)
    converse = lambda reader, writer: Conversation(front, reader, writer).run()
    server = await asyncio.start_server(converse, "127.0.0.1", front.options.port, backlog=256)
    async with server:
        await over.wait()
    front.pipe.close()  # the engine ends after its turn
    await loop.run_in_executor(None, front.process.join, 5)
    front.process.kill()
    os._exit(0)  # connections that are still open end here


def main():
    reading = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reading.add_argument("--port", type=int, required=True)
    reading.add_argument("--rows", type=int, default=16)
    reading.add_argument("--context", type=int, default=4224)
    reading.add_argument("--prefill-chunk", type=int, default=0)
    reading.add_argument("--name", default="engine", help="for people who look at processes")
    for flag in ("--eager", "--cpu", "--fake"):
        reading.add_argument(flag, action="store_true")
    options = reading.parse_args()
    kind = multiprocessing.get_context("fork")  # nothing of CUDA or PyTorch is loaded here
    ours, theirs = kind.Pipe()
    process = kind.Process(target=forked, args=(ours, theirs, options))
    process.start()
    theirs.close()
    asyncio.run(serve_http(Front(options, ours, process)))


def forked(ours, theirs, options):
    """The engine's process: it closes the end that is not its own, so that it sees the parent's end."""
    ours.close()
    engine.serve(theirs, options)


if __name__ == "__main__":
    main()
