"""What can be seen from outside: HTTP, Prometheus text, and the processes of one pipe directory in /proc."""

import http.client
import os
import re
import signal
import time
import urllib.parse
from dataclasses import dataclass


def fetch(url, method="GET", body=None, timeout=2.0):
    """One HTTP request: (status, text); status 0 when nobody answered in time, the text says why."""
    parts = urllib.parse.urlsplit(url)
    path = parts.path + ("?" + parts.query if parts.query else "")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request(method, path or "/", body=body, headers={"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as problem:
        return 0, str(problem)
    finally:
        connection.close()


def wait_for(condition, seconds, pause=0.01):
    """Calls `condition` until it gives something true, and gives that; None after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            return None
        time.sleep(pause)


SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Scrape:
    """One reading of a metrics page."""

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            found = SAMPLE.match(line)
            if found:
                name, labels, value = found.groups()
                self.samples.append((name, dict(LABEL.findall(labels or "")), float(value)))

    def matching(self, name, **labels):
        """Every (labels, value) of that name with those labels."""
        wanted = labels.items()
        return [(has, value) for key, has, value in self.samples if key == name and wanted <= has.items()]

    def total(self, name, **labels):
        """The sum over all series of that name with those labels; 0 where there is none."""
        return sum(value for _, value in self.matching(name, **labels))

    def by(self, name, label, **labels):
        """The sums by the values of one label."""
        sums = {}
        for has, value in self.matching(name, **labels):
            key = has.get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums


def grown(before, after):
    """What grew from one `by` to a later one."""
    growth = {key: value - before.get(key, 0.0) for key, value in after.items()}
    return {key: value for key, value in growth.items() if value != 0}


@dataclass(frozen=True)
class Process:
    """One process, with its start time so that a reused pid is not taken for it."""

    pid: int
    started: int
    role: str  # control, server or engine
    name: str  # an engine's
    session: int


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


@dataclass(frozen=True)
class Stat:
    """What /proc says of a process."""

    state: str  # Z: a zombie
    parent: int
    session: int
    started: int  # clock ticks since boot
    ticks: int  # CPU time


def stat(pid):
    """A process's Stat; None when it is gone."""
    text = _read(f"/proc/{pid}/stat").decode("utf-8", "replace")
    if ")" not in text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]), int(fields[11]) + int(fields[12]))


def _role(argv):
    program = os.path.basename(argv[0]) if argv else ""
    if program == "nvidia-cuda-mps-control":
        return "control" if "-f" in argv else None  # without it: one command, soon over
    if program == "nvidia-cuda-mps-server" or argv[1:3] == ["sim", "server"]:
        return "server"
    return None if "--foreign" in argv else "engine"


def members(pipe_directory):
    """Every live process of the group, whoever started it: the pipe directory is in its environment, or it is a
    server whose parent is that directory's control daemon."""
    mark = b"CUDA_MPS_PIPE_DIRECTORY=" + os.fsencode(pipe_directory)
    found, servers = [], []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        argv = [part.decode("utf-8", "replace") for part in _read(f"/proc/{entry}/cmdline").split(b"\0")[:-1]]
        known, role = stat(entry), _role(argv) if argv else None
        if known is None or known.state in "ZX" or role is None:
            continue
        name = argv[argv.index("--name") + 1] if role == "engine" and "--name" in argv[:-1] else ""
        process = Process(int(entry), known.started, role, name, known.session)
        if mark in _read(f"/proc/{entry}/environ").split(b"\0"):
            found.append(process)
        elif role == "server":
            servers.append((known.parent, process))
    controls = {process.pid for process in found if process.role == "control"}
    found += [server for parent, server in servers if parent in controls]
    return sorted(found, key=lambda process: process.pid)


def there(process):
    """Whether this very process is there, as a zombie too."""
    known = stat(process.pid)
    return known is not None and known.started == process.started


def alive(process):
    """Whether this very process runs: a zombie does not."""
    known = stat(process.pid)
    return known is not None and known.started == process.started and known.state not in "ZX"


def kill(process, number=signal.SIGKILL):
    """Signals this very process; nothing when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        if alive(process):
            signal.pidfd_send_signal(handle, number)
    except OSError:
        pass
    finally:
        os.close(handle)
