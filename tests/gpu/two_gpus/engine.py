"""An engine for a group over two GPUs: a client of the server behind HTTP.

  engine.py CLIENT LINGER PORT      CUDA_VISIBLE_DEVICES says how many GPUs the client is given

/health: 200 once the client is ready on each of its GPUs. /state: its pid and how often it came round on each GPU.
POST /order?what=illegal&device=0: the client does that. The engine ends when its client does, with status 3; nothing is
shared with an engine that is started in its place."""

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse

READY = re.compile(r"ready device=(\d+)")
ROUNDS = re.compile(r"rounds device=(\d+) count=(\d+)")


class Client:
    """The process that computes, and what it said."""

    def __init__(self, program, linger):
        self.devices = [str(number) for number in range(len(os.environ["CUDA_VISIBLE_DEVICES"].split(",")))]
        self.ready, self.rounds = set(), {}
        self.process = subprocess.Popen([program, linger, *self.devices], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        """Follows its lines, repeats all but counts, and ends with it."""
        for line in self.process.stdout:
            found, counted = READY.search(line), ROUNDS.search(line)
            if counted:
                self.rounds[counted[1]] = int(counted[2])
                continue
            if found:
                self.ready.add(found[1])
            print(line, end="", flush=True)
        print("client reaped, status", self.process.wait(), flush=True)
        os._exit(3)

    def say(self, line):
        """Writes it a line; whether it could be written."""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            return True
        except OSError:
            return False


def handler(client):
    """What answers for it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, text):
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/state":
                client.say("rounds")
                state = {"pid": os.getpid(), "client": client.process.pid, "rounds": client.rounds}
                self.answer(200, json.dumps(state))
            else:
                self.answer(200 if client.ready >= set(client.devices) else 503, "")

        def do_POST(self):
            asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            done = client.say(f"{asked.get('what')} {asked.get('device')}")
            self.answer(202 if done else 500, "")

        def log_message(self, *_):
            pass

    return Handler


def main():
    program, linger, port = sys.argv[1:]
    client = Client(program, linger)

    def end(*_):
        client.process.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    http.server.ThreadingHTTPServer.daemon_threads = True
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler(client)).serve_forever()


if __name__ == "__main__":
    main()
