"""What a soak runs: demos, a Prometheus over the divided rules and, if asked for, an Alertmanager; and what they say."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from tenth import tenth, tenth_of_rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
# For a program to answer, or to end.
PATIENCE = 60
SCRAPED_EVERY = "1s"


def fetch(url):
    """The JSON that is there."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def wait_for(what, look):
    """What `look` finds; fails after a minute, saying what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"waited {PATIENCE} s in vain for {what}")


class Program:
    """A program with its output in a file. It is ended in order, or else killed with all that it started."""

    def __init__(self, directory, command, name):
        self.output = directory / f"{name}.out"
        environment = {**os.environ, "TMPDIR": str(directory)}
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def find(self, pattern):
        """The first group of the pattern in what it has written; fails where it has ended."""

        def look():
            written = self.output.read_text(errors="replace")
            found = re.search(pattern, written)
            if not found and self.process.poll() is not None:
                raise RuntimeError(f"{self.output} ended with {self.process.returncode}:\n{written[-2000:]}")
            return found and found[1]

        return wait_for(f"{pattern} in {self.output}", look)

    def end(self):
        """Asks it to end; after a minute it is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Demo:
    """`mpswarden demo` with its faults at their times, from now on."""

    def __init__(self, program, directory, chapter):
        directory.mkdir()
        self.mpswarden = program
        faults = [word for fault in chapter.faults for word in ("--inject", fault.argument())]
        self.began = time.time()
        self.program = Program(
            directory,
            [program, "demo", "--engines", str(chapter.engines), "--for", f"{chapter.length + PATIENCE}s"]
            + ["--web.listen-address", "127.0.0.1:0"] + faults,
            "demo",
        )
        self.address = self.program.find(r"page +http://(\S+)").rstrip("/")
        self.socket = self.program.find(r"--control-socket (\S+)")

    def order(self, words):
        """Gives an operator's order. What mpswarden says, where it refuses."""
        command = [self.mpswarden, "--control-socket", self.socket, *words]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
        return ended.stderr.strip() if ended.returncode else None

    def end(self):
        self.program.end()


class Prometheus:
    """A real one over the divided rules of a folder. Its targets come and go with the demos."""

    def __init__(self, directory, alertmanager, shipped):
        rules, self.targets = directory / "rules", directory / "targets"
        rules.mkdir()
        self.targets.mkdir()
        for file in sorted(shipped.glob("*.rules.yaml")):
            (rules / file.name).write_text(tenth_of_rules(file.read_text()))
        alerting = f'alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}\n' if alertmanager else ""
        configuration = directory / "prometheus.yml"
        configuration.write_text(
            f"global: {{scrape_interval: {SCRAPED_EVERY}, evaluation_interval: {SCRAPED_EVERY}}}\n"
            f'rule_files: ["{rules}/*.yaml"]\n{alerting}'
            "scrape_configs:\n"
            "  - job_name: mpswarden\n"
            f'    file_sd_configs: [{{files: ["{self.targets}/*.json"]}}]\n'
        )
        command = [needed("prometheus"), f"--config.file={configuration}", f"--storage.tsdb.path={directory / 'data'}"]
        self.program = Program(directory, command + ["--web.listen-address=127.0.0.1:0"], "prometheus")
        address = self.program.find(r'"Listening on" address=(\S+)')
        self.url = f"http://{address}/api/v1"

    def watch(self, name, address):
        """Scrapes a demo from now on, under its name."""
        file = self.targets / f"{name}.json"
        fresh = self.targets / f"{name}.new"
        fresh.write_text(json.dumps([{"targets": [address], "labels": {"instance": name}}]))
        fresh.rename(file)

    def leave(self, name):
        """Scrapes it no more."""
        (self.targets / f"{name}.json").unlink()

    def alerts(self):
        """Those that fire now, with their annotations."""
        return [alert for alert in fetch(f"{self.url}/alerts")["data"]["alerts"] if alert["state"] == "firing"]

    def spans(self, query, began, ended):
        """When each series of a query was there: its labels, and spans of seconds since `began`."""
        question = urllib.parse.urlencode({"query": query, "start": began, "end": ended, "step": 1})
        for series in fetch(f"{self.url}/query_range?{question}")["data"]["result"]:
            yield series["metric"], spans([round(at - began) for at, _ in series["values"]])

    def end(self):
        self.program.end()


def spans(seconds):
    """Runs of seconds; a gap of one second is none."""
    found = []
    for second in seconds:
        if found and second - found[-1][1] <= 2:
            found[-1][1] = second
        else:
            found.append([second, second])
    return [tuple(span) for span in found]


class Alertmanager:
    """A real one with the shipped example; its receivers write to a list, its waits are a tenth."""

    def __init__(self, directory, shipped):
        self.told = []
        self.receiver = _receiver(self.told)
        port = self.receiver.server_address[1]
        text = (shipped / "alertmanager.example.yml").read_text()
        text = text.replace("127.0.0.1:9095", f"127.0.0.1:{port}")
        text = re.sub(r"(group_wait|group_interval|repeat_interval): (\S+)", _tenth_of_a_wait, text)
        configuration = directory / "alertmanager.yml"
        configuration.write_text(text)
        command = [needed("prometheus-alertmanager"), f"--config.file={configuration}"]
        command += [f"--storage.path={directory / 'alertmanager'}", "--web.listen-address=127.0.0.1:0"]
        self.program = Program(directory, command + ["--cluster.listen-address="], "alertmanager")
        self.address = self.program.find(r'"Listening on" address=(\S+)')

    def pages(self):
        """What came for the pager: Alertmanager's group, and labels of the alerts that fire in it."""
        return [(note["groupLabels"], firing(note)) for path, note in list(self.told) if path == "/page" and firing(note)]

    def end(self):
        self.program.end()
        self.receiver.shutdown()


def firing(note):
    """The labels of what fires in a notification."""
    return [alert["labels"] for alert in note["alerts"] if alert["status"] == "firing"]


def _tenth_of_a_wait(found):
    return f"{found[1]}: {tenth(found[2])}"


def _receiver(told):
    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802 (the library's name)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def needed(program):
    """Where a program is; fails where it is missing."""
    found = shutil.which(program)
    if not found:
        raise FileNotFoundError(f"`{program}` is missing: apt-get install {program}")
    return found
