"""The group: `mpswarden run` over two engines, its configuration, its processes, its orders, its end."""

import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from outside import Process, Scrape, alive, fetch, kill, stat, wait_for
from stage import find_nvml

GROUP, NAMES = "llm", ("a", "b")
BEGAN = time.monotonic()
DRIVER = ("CUDA_MPS", "CUDA_VISIBLE_DEVICES")

CONFIGURATION = """\
{top}state_directory = "{root}/state"

[web]
listen_addresses = ["{listen}"]

[[group]]
name = "llm"
gpu = {gpu}
mode = "enforce"
policy = {{ hang = "enforce" }}
isolation = {{ mode = "off" }}

[group.mps]
{binary}pipe_directory = "{root}/p"
log_directory = "{root}/log"

[group.recovery]
budget = 50
engine_budget = 50
stable_after = "5s"
backoff = {{ first = "0s", next = "1ms", factor = 1.0, most = "1s", jitter = 0.0 }}
wedge_grace = "5s"
{start}"""

ENGINE = """
[[group.engine]]
name = "{name}"
command = {command}
environment = {{ {environment} }}
url = "http://127.0.0.1:{port}"
start_timeout = "5m"
stop_timeout = "15s"
drain_timeout = "5s"
hang_after = "{hang_after}s"
sm_percentage = 60
{kind}"""


class Said:
    """What the plan says: to the terminal, and to plan.log in the output folder."""

    path = None

    def __call__(self, *words):
        line = f"[{time.monotonic() - BEGAN:7.2f}] " + " ".join(str(word) for word in words)
        print(line, flush=True)
        if self.path:
            with open(self.path, "a") as file:
                file.write(line + "\n")


say = Said()


@dataclass(frozen=True)
class Known:
    """A process in the tree below the watchdog."""

    process: Process
    parent: int
    argv: tuple
    title: str  # as the kernel has it: setproctitle changes it


class Family:
    """Every process that descends from the watchdog; those that were once seen are remembered until they are gone."""

    def __init__(self, root):
        self.root, self.seen, self.on = root, {}, True
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while self.on:
            self.look()
            time.sleep(0.5)

    def look(self):
        """The living, by pid."""
        children = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            known = stat(int(entry))
            if known and known.state not in "ZX":
                children.setdefault(known.parent, []).append((int(entry), known))
        below, found = [self.root], {}
        while below:
            for pid, known in children.get(below.pop(), []):
                found[pid] = self.known(pid, known)
                below.append(pid)
        for one in found.values():
            self.seen[(one.process.pid, one.process.started)] = one
        return found

    @staticmethod
    def known(pid, seen):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file, open(f"/proc/{pid}/comm") as title:
                argv = tuple(part.decode("utf-8", "replace") for part in file.read().split(b"\0") if part)
                return Known(Process(pid, seen.started, "", "", seen.session), seen.parent, argv, title.read().strip())
        except OSError:
            return Known(Process(pid, seen.started, "", "", seen.session), seen.parent, (), "")

    def left(self):
        """Those once seen that still live."""
        return [one for one in list(self.seen.values()) if alive(one.process)]


def born(process):
    """Seconds since this process was started, to 10 ms."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.started / os.sysconf("SC_CLK_TCK")


class Group:
    """The watchdog and its two engines, on a GPU of either sort (see gpus.py)."""

    def __init__(self, gpu, options):
        self.gpu, self.options, self.out = gpu, options, options.out
        self.root, self.watchdog = gpu.root, options.watchdog
        self.listen, self.ports = gpu.listen, dict(zip(NAMES, gpu.ports))
        self.path, self.log = f"{self.root}/mpswarden.toml", os.path.join(self.out, "mpswarden.log")
        self.control_socket = f"{self.root}/control.sock"
        self.process = self.family = None
        self.start_order = options.start
        self.configure()

    def configure(self, start=None):
        """Writes the configuration; `start` overrules the order of starts."""
        start = start or self.start_order
        text = CONFIGURATION.format(
            top=self.gpu.top(), root=self.root, listen=self.listen, gpu=json.dumps(self.gpu.name),
            binary=self.gpu.binary(), start=f'start = "{start}"\n' if start else "")
        for name, port in self.ports.items():
            command, environment, kind = self.gpu.engine(name, port)
            text += ENGINE.format(
                name=name, command=json.dumps(command), port=port, hang_after=self.options.hang_after,
                environment=", ".join(f"{key} = {json.dumps(value)}" for key, value in environment.items()),
                kind=f'kind = "{kind}"\n' if kind else "")
        with open(self.path, "w") as file:
            file.write(text)

    def start(self):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(DRIVER)}
        command = [self.watchdog, "run", "--config", self.path, "--control-socket", self.control_socket]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            start_new_session=True)
        self.family = Family(self.process.pid)

    # ---------------------------------------------------------------- what it says

    def ready(self):
        return fetch(f"http://{self.listen}/-/ready?group={GROUP}")[0] == 200

    def scrape(self):
        """The watchdog's metrics; an empty page when it does not answer."""
        status, text = fetch(f"http://{self.listen}/metrics")
        return Scrape(text if status == 200 else "")

    def status(self):
        return fetch(f"http://{self.listen}/api/v1/status")[1]

    def wait_ready(self, seconds):
        """Seconds until all serve; None: they did not, or the watchdog ended."""
        began = time.monotonic()
        wait_for(lambda: self.process.poll() is not None or self.ready(), seconds, 0.05)
        ready = self.process.poll() is None and self.ready()
        return round(time.monotonic() - began, 2) if ready else None

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def said(self, since=0):
        """The watchdog's own lines since a size of its log."""
        with open(self.log, "rb") as file:
            file.seek(since)
            text = file.read().decode("utf-8", "replace")
        return [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]

    def order(self, *words, seconds=120):
        """Gives an order: (exit status, what was answered)."""
        command = [self.watchdog, *words, "--control-socket", self.control_socket]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return None, f"no answer within {seconds} s"
        return done.returncode, (done.stdout + done.stderr).strip()

    # ---------------------------------------------------------------- its processes

    def main(self, engine, family=None):
        """The engine's main process: a child of the watchdog with the engine's port among its words."""
        port = str(self.ports[engine])
        return self.first(family, lambda one: one.parent == self.process.pid and port in one.argv)

    def core(self, engine):
        """Its GPU process, a child of that; vLLM's has blanked its environment and is known by its title."""
        family = self.family.look()
        main = self.main(engine, family)
        return main and self.first(family, lambda one: one.parent == main.pid and (
            "VLLM" in one.title + " ".join(one.argv) or "engine-core" in one.argv))

    def control(self, family=None):
        """The control daemon, not one of its commands."""
        return self.first(family, lambda one: one.parent == self.process.pid and "-f" in one.argv
                          and os.path.basename(one.argv[0]) == "nvidia-cuda-mps-control")

    def server(self):
        family = self.family.look()
        control = self.control(family)
        return control and self.first(family, lambda one: one.parent == control.pid and one.argv and (
            os.path.basename(one.argv[0]) == "nvidia-cuda-mps-server" or one.argv[1:3] == ("sim", "server")))

    def first(self, family, fits):
        found = (family or self.family.look()).values()
        return next((one.process for one in found if fits(one)), None)

    # ---------------------------------------------------------------- its end

    def stop(self, seconds):
        """SIGTERM: what came of it, and whom it left behind. Whoever is left is killed after that."""
        began, found = time.monotonic(), {}
        self.family.look()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            found["status"] = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            found["status"] = f"none within {seconds:.0f} s"
        found["seconds"] = round(time.monotonic() - began, 2)
        time.sleep(0.3)
        found["left"] = [" ".join(one.argv)[:80] or one.title for one in self.family.left()]
        self.kill_all()
        found["gpu"] = self.gpu.left()
        return found

    def kill_all(self):
        """KILL for the watchdog and all that it ever started."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.family.look()
            self.process.kill()
            self.process.wait(10)
        for number in (9, 18):  # a stopped process takes KILL as well; CONT is for its tracer
            for one in self.family.left():
                kill(one.process, number)
        wait_for(lambda: not self.family.left(), 10, 0.1)
        self.family.on = False

    def keep_logs(self):
        """The logs of the daemon and the engines in one archive: beginning and end of each."""
        with tarfile.open(os.path.join(self.out, "logs.tar.gz"), "w:gz") as archive:
            for folder, _, files in os.walk(f"{self.root}/log"):
                for name in files:
                    keep_ends(archive, os.path.join(folder, name), os.path.relpath(folder, self.root) + "/" + name)
            for name in ("mpswarden.toml", "stray.log"):
                if os.path.exists(f"{self.root}/{name}"):
                    archive.add(f"{self.root}/{name}", name)


def keep_ends(archive, path, name, first=1_000_000, last=5_000_000):
    """Adds a file, or its first and its last bytes where it is longer."""
    if not os.path.isfile(path):
        return
    size = os.path.getsize(path)
    if size <= first + last:
        archive.add(path, name)
        return
    with open(path, "rb") as file, open(path + ".ends", "wb") as ends:
        ends.write(file.read(first) + b"\n[...]\n")
        file.seek(size - last)
        ends.write(file.read())
    archive.add(path + ".ends", name)
