"""The stage of a run: the watchdog and its engines, on a real GPU or over the simulation. It starts, orders, ends."""

import ctypes
import glob
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
import tomllib
from dataclasses import dataclass

from outside import Scrape, fetch, kill, members, wait_for

ROOT = "/tmp/mw"  # short: a socket's path has 107 bytes
LISTEN = "127.0.0.1:10677"

CONFIGURATION = """\
nvml_library = {nvml}
state_directory = "{root}/state"

[web]
listen_addresses = ["{listen}"]

[[group]]
name = "h200"
gpu = 0
mode = "enforce"

[group.mps]
pipe_directory = "{root}/p"
log_directory = "{root}/log"

[group.isolation]
mode = "off"

[group.recovery]
budget = 1000
budget_window = "1h"
stable_after = "1s"
backoff = {{ first = "0s", next = "1ms", factor = 1.0, most = "1s", jitter = 0.0 }}
engine_budget = 1000
memory_timeout = "30s"
wedge_grace = "5s"
start_order = "{start}"
"""

ENGINE = """
[[group.engine]]
name = "{name}"
command = {command}
url = "http://127.0.0.1:{port}"
{limits}start_timeout = "60s"
stop_timeout = "10s"
drain_timeout = "1s"
"""


@dataclass
class Engine:
    """One engine: its name and where it answers."""

    name: str
    url: str


def find_nvml():
    """What the loader finds, else a path in the places where drivers are mounted."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
        return "libnvidia-ml.so.1"
    except OSError:
        places = ("/usr/local/nvidia/lib*/", "/usr/lib/*-linux-gnu/", "/usr/lib64/", "/run/nvidia/driver/usr/lib*/")
        found = [path for place in places for path in sorted(glob.glob(place + "libnvidia-ml.so.1"))]
        return found[0] if found else "libnvidia-ml.so.1"


class Stage:
    """What both stages share: the watchdog's process, its metrics, the group's processes."""

    group: str
    listen: str
    pipe_directory: str
    log_directory: str
    configuration: str
    engines: list

    def __init__(self, watchdog, out):
        self.watchdog, self.out = watchdog, out
        self.process = self.control_socket = None

    def enter_cgroup(self):
        """Called in the watchdog's process before it runs."""

    def start(self):
        """Starts the watchdog; its output is appended to mpswarden.log."""
        hidden = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "CUDA_VISIBLE_DEVICES")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        with open(os.path.join(self.out, "mpswarden.log"), "ab") as log:
            command = [self.watchdog, "run", "--config", self.configuration]
            command += ["--control-socket", self.control_socket] if self.control_socket else []
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
                preexec_fn=self.enter_cgroup,
            )

    def scrape(self):
        """The watchdog's metrics; None when it does not answer."""
        status, text = fetch(f"http://{self.listen}/metrics")
        return Scrape(text) if status == 200 else None

    def ready(self):
        """Whether the group serves all its engines."""
        return fetch(f"http://{self.listen}/-/ready?group={self.group}")[0] == 200

    def wait_ready(self, seconds):
        """Waits for `ready`; false at once when the watchdog's process ended."""
        wait_for(lambda: self.process.poll() is not None or self.ready(), seconds, 0.05)
        return self.process.poll() is None and self.ready()

    def status(self):
        """What the watchdog knows, for the record of a failure."""
        return fetch(f"http://{self.listen}/api/v1/status")[1][:20000]

    def members(self):
        """The group's processes: control daemon, server, engines with their children."""
        return members(self.pipe_directory)

    def one(self, role):
        """The control daemon or the server."""
        return next((process for process in self.members() if process.role == role), None)

    def tokens(self, engine):
        """Tokens an engine has made so far; -1 when it does not answer."""
        status, text = fetch(engine.url + "/metrics")
        made = (Scrape(text).total(f"{speaks}:generation_tokens_total") for speaks in ("vllm", "sglang"))
        return sum(made) if status == 200 else -1

    def progressing(self, engines, seconds=10):
        """The engines among these that made no token within `seconds`."""
        first = {engine.name: self.tokens(engine) for engine in engines}
        stuck = list(engines)

        def all_moved():
            stuck[:] = [engine for engine in stuck if self.tokens(engine) <= max(first[engine.name], 0)]
            return not stuck

        wait_for(all_moved, seconds, 0.02)
        return [engine.name for engine in stuck]

    def stop(self, seconds=30):
        """SIGTERM: (exit status, None when it did not end in time; seconds it took)."""
        self.keep_metrics()
        begin = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        return code, time.monotonic() - begin

    def kill_all(self):
        """KILL for the watchdog and every process of the group."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for process in self.members():
            kill(process, signal.SIGCONT)
            kill(process)
        wait_for(lambda: not self.members(), 10)

    def keep_metrics(self):
        """Writes the metrics page to the output folder, if there is one."""
        status, text = fetch(f"http://{self.listen}/metrics")
        if status == 200:
            with open(os.path.join(self.out, "metrics.txt"), "w") as file:
                file.write(text)

    def keep_logs(self):
        """Copies the logs of the group's processes to the output folder: the daemon's, and the engines' together."""
        for name in ("daemon.log", "engines.log"):
            open(os.path.join(self.out, name), "wb").close()
        names = tuple(engine.name for engine in self.engines)
        for path in sorted(glob.glob(os.path.join(self.log_directory, "**"), recursive=True)):
            if os.path.isfile(path):
                of_engine = os.path.basename(path).startswith(names) or "/engine" in path
                target = "engines.log" if of_engine else "daemon.log"
                with open(path, "rb") as log, open(os.path.join(self.out, target), "ab") as copy:
                    copy.write(f"==> {path}\n".encode())
                    log.seek(max(0, os.path.getsize(path) - 4_000_000))
                    copy.write(log.read())


class RealStage(Stage):
    """One real GPU, NVIDIA's control daemon, engines compiled from engine.cu."""

    simulated = False

    def __init__(self, watchdog, out, engine):
        super().__init__(watchdog, out)
        self.engine = engine
        self.group, self.listen = "h200", LISTEN
        self.pipe_directory, self.log_directory = f"{ROOT}/p", f"{ROOT}/log"
        self.configuration = f"{ROOT}/mpswarden.toml"
        if self.members():
            raise SystemExit(f"processes of an earlier run still use {ROOT}/p: end them first")
        shutil.rmtree(ROOT, ignore_errors=True)
        os.makedirs(f"{ROOT}/empty")

    def configure(self, memory=(20, 10, 5), large=False, user=None):
        """Writes a configuration with one engine for each amount of GiB; the last works in a child process."""
        text = CONFIGURATION.format(nvml=json.dumps(find_nvml()), root=ROOT, listen=LISTEN, start="sequential")
        self.engines = []
        for number, gib in enumerate(memory):
            name, port = "abcdefgh"[number], 18001 + number
            command = [self.engine, "--name", name, "--port", str(port), "--memory-gib", str(gib)]
            command += ["--kernel-us", "1000", "--sms", "16"]
            command += ["--fork-child"] if number == len(memory) - 1 else []
            limits = f'sm_percentage = 60\ndevice_memory_limit = "{gib + 4}GiB"\n' if large else ""
            limits += f'user = "{user}"\n' if user else ""
            text += ENGINE.format(name=name, command=json.dumps(command), port=port, limits=limits)
            self.engines.append(Engine(name, f"http://127.0.0.1:{port}"))
        with open(self.configuration, "w") as file:
            file.write(text)

    def memory_used(self):
        """MiB in use on GPU 0 by nvidia-smi; None when it does not say."""
        query = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        try:
            return float(subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout)
        except (OSError, ValueError, subprocess.SubprocessError):
            return None

    def inject(self, fault, engine):
        """Orders a fault in one engine."""
        return fetch(f"{engine.url}/inject?fault={fault}", "POST")[0] == 202

    def linger(self):
        """Every engine stays alive after its next error."""
        return all(fetch(f"{engine.url}/linger?on=1", "POST")[0] == 200 for engine in self.engines)

    def load(self, engine, on):
        """Turns an engine's work on or off."""
        return fetch(f"{engine.url}/load?on={int(on)}", "POST")[0] == 200

    def foreign(self, fault):
        """Runs a process outside MPS that faults; its exit status (3: it faulted), None if it did not end."""
        environment = dict(os.environ, CUDA_MPS_PIPE_DIRECTORY=f"{ROOT}/empty")
        command = [self.engine, "--foreign", "--name", "foreign", "--memory-gib", "1", "--at", "0.3", "--fault", fault]
        with open(os.path.join(self.out, "mpswarden.log"), "ab") as log:
            try:
                return subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=30).returncode
            except subprocess.TimeoutExpired:
                return None


class SimulatedStage(Stage):
    """A simulated GPU that somebody set; MPSWARDEN_SIM_CONFIG is the configuration over it.

    MPSWARDEN_SIM_FOREIGN is the command line of a process outside MPS, `{fault}` in it the fault's name.
    """

    simulated = True

    def __init__(self, watchdog, out):
        super().__init__(watchdog, out)
        self.configuration = os.environ["MPSWARDEN_SIM_CONFIG"]
        with open(self.configuration, "rb") as file:
            known = tomllib.load(file)
        group = known["group"][0]
        self.group, self.listen = group["name"], known["web"]["listen_addresses"][0]
        self.pipe_directory = group["mps"]["pipe_directory"]
        self.log_directory = group["mps"]["log_directory"]
        self.engines = [Engine(engine["name"], engine["url"]) for engine in group["engine"]]
        self.loaded = {}

    def configure(self, **_):
        """The configuration is given; every engine gets requests."""
        for engine in self.engines:
            self.load(engine, True)

    def memory_used(self):
        """MiB in use by the watchdog's own reading of the simulated driver."""
        scrape = self.scrape()
        return scrape.total("mps_gpu_memory_used_bytes") / (1 << 20) if scrape else None

    def _order(self, fault, engine):
        return fetch(f"{engine.url}/sim/inject", "POST", json.dumps({"fault": fault}))[0] in (200, 202)

    def inject(self, fault, engine):
        """Orders a fault in one engine."""
        return self._order(fault, engine)

    def linger(self):
        """Every engine stays alive after its next error."""
        return all(self._order("stay", engine) for engine in self.engines)

    def load(self, engine, on):
        """Sends an engine requests, one after the other, or stops doing so."""
        if on and engine.name not in self.loaded:
            self.loaded[engine.name] = stop = threading.Event()
            threading.Thread(target=self._complete, args=(engine, stop), daemon=True).start()
        elif not on and engine.name in self.loaded:
            self.loaded.pop(engine.name).set()
        return True

    @staticmethod
    def _complete(engine, stop):
        request = json.dumps({"prompt": "a", "max_tokens": 16})
        while not stop.is_set():
            if fetch(engine.url + "/v1/completions", "POST", request, timeout=5)[0] != 200:
                stop.wait(0.05)

    def foreign(self, fault):
        """Runs the given foreign process; "absent" when none is given."""
        command = os.environ.get("MPSWARDEN_SIM_FOREIGN")
        if not command:
            return "absent"
        try:
            return subprocess.run(shlex.split(command.replace("{fault}", fault)), timeout=30).returncode
        except subprocess.TimeoutExpired:
            return None
