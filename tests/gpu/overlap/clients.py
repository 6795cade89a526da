"""What a measurement of overlap runs on: a control daemon of its own, processes that take orders as lines on their
stdin and answer in JSON lines, and their GPU memory. Judges nothing."""

import ctypes
import glob
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from outside import wait_for
from stage import find_nvml


def find_probe(given):
    """The probe's library: as given, else the newest that cargo built."""
    built = glob.glob("target/**/out/*mpswarden_probe*.so", recursive=True)
    found = given or max(built, key=os.path.getmtime, default=None)
    if not found or not os.path.exists(found):
        raise SystemExit("no libmpswarden_probe.so: cargo build, or say where it is by --probe PATH")
    return os.path.abspath(found)


def find_cupti():
    """A libcupti of PyTorch's wheels or of the CUDA toolkit; None where there is none."""
    package = importlib.util.find_spec("nvidia")
    places = [f"{place}/*/lib" for place in (package.submodule_search_locations or ())] if package else []
    places += ["/usr/local/cuda/extras/CUPTI/lib64", "/usr/local/cuda/lib64", "/usr/local/cuda-*/targets/*/lib"]
    found = [path for place in places for path in sorted(glob.glob(f"{place}/libcupti.so.1*"))]
    return found[-1] if found else None


class Place:
    """A short folder for sockets and rings, and in it MPS's daemon unless `plain`."""

    def __init__(self, out, plain=False):
        self.folder = tempfile.mkdtemp(prefix="mwo", dir="/tmp")
        self.out, self.plain, self.daemon, self.clients = out, plain, None, []
        hidden = ("CUDA_INJECTION64_PATH", "MPSWARDEN_PROBE_SOCKET")
        self.environment = {key: value for key, value in os.environ.items() if key not in hidden}
        for name, key in (("p", "CUDA_MPS_PIPE_DIRECTORY"), ("log", "CUDA_MPS_LOG_DIRECTORY")):
            os.mkdir(f"{self.folder}/{name}")
            self.environment[key] = f"{self.folder}/{name}"

    def __enter__(self):
        if not self.plain:
            with open(os.path.join(self.out, "overlap-daemon.log"), "ab") as log:
                self.daemon = subprocess.Popen(
                    ["nvidia-cuda-mps-control", "-f"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=self.environment, start_new_session=True,
                )
            if not wait_for(lambda: self._command(f"start_server -uid {os.getuid()}") == 0, 10, 0.1):
                self.__exit__()
                raise SystemExit("the MPS control daemon did not answer within 10 s: see overlap-daemon.log")
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.end()
        if self.daemon:
            self._command("quit -t 2")
            try:
                self.daemon.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.daemon.pid, signal.SIGKILL)
                self.daemon.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, command):
        try:
            return subprocess.run(
                ["nvidia-cuda-mps-control"], input=command + "\n", text=True, env=self.environment, timeout=10,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ).returncode
        except (OSError, subprocess.TimeoutExpired):
            return -1

    def start(self, command, probe=None, socket=None, cupti=None):
        """A client of this place, with the probe's library where one is named."""
        environment = dict(self.environment)
        if probe:
            environment |= {"CUDA_INJECTION64_PATH": probe, "MPSWARDEN_PROBE_SOCKET": socket}
            if cupti and "MPSWARDEN_CUPTI" not in environment:
                environment["MPSWARDEN_CUPTI"] = cupti
        client = Client(command, environment, os.path.join(self.out, "overlap-clients.log"))
        self.clients.append(client)
        return client


class Client:
    """A process that says JSON lines: one when it is ready, one for each order, one after its stdin's end."""

    def __init__(self, command, environment, log):
        self.command, self.rest, self.log = command, b"", log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def answer(self, seconds):
        """Its next line; raises when none comes in time or it ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not part:
                state = "said nothing" if not ready else "ended"
                raise RuntimeError(f"{' '.join(self.command)} {state} after {seconds:.0f} s at most: see {self.log}")
            self.rest += part
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def order(self, line):
        """Sends an order; `answer` has what came of it."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def finish(self, seconds=30):
        """Ends its stdin: its last line."""
        self.process.stdin.close()
        last = self.answer(seconds)
        self.process.wait(seconds)
        return last

    def end(self):
        """Whatever is left of it ends at once. It is idle by now, so that its siblings are not harmed."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass


def together(clients, seconds):
    """All of them run for that long at once: their answers."""
    for client in clients:
        client.order(f"run {seconds}")
    return [client.answer(seconds + 30) for client in clients]


class _Used(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("bytes", ctypes.c_ulonglong), ("gi", ctypes.c_uint), ("ci", ctypes.c_uint)]


class Memory:
    """The GPU memory of every client of GPU 0, MiB by pid, read by NVML every 20 ms from a thread."""

    def __init__(self):
        self.samples, self._stop, self._device = [], threading.Event(), ctypes.c_void_p()
        try:
            self._nvml = ctypes.CDLL(find_nvml())
            failed = self._nvml.nvmlInit_v2() or self._nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device))
        except (OSError, AttributeError):
            failed = True
        self._thread = None if failed else threading.Thread(target=self._read, daemon=True)
        if self._thread:
            self._thread.start()

    def _read(self):
        while not self._stop.wait(0.02):
            count, used = ctypes.c_uint(64), (_Used * 64)()
            code = self._nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3(self._device, ctypes.byref(count), used)
            if code == 0:
                self.samples.append((time.time_ns(), {row.pid: row.bytes / 2**20 for row in used[: count.value]}))

    def stop(self):
        """No more samples; those that are there remain."""
        self._stop.set()
        if self._thread:
            self._thread.join(5)

    def most(self, pid, begin, end):
        """The most that a client held between two moments, MiB; None where nothing was read."""
        return max((by[pid] for at, by in self.samples if begin <= at < end and pid in by), default=None)
