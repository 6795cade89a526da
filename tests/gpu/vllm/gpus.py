"""The GPU below the group: a real one with vLLM on it, or a simulated one with stand-ins, to try the plan itself."""

import glob
import os
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

from group import DRIVER, find_nvml
from outside import wait_for

PORTS, LISTEN = (8001, 8002), "127.0.0.1:10677"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
STAND_IN = ("{watchdog} sim engine --name {name} --port {port} --gpu {gpu} --memory 4GiB --startup 1500ms"
            " --model qwen05 --speaks vllm")


def run_stray(command, pipe, log):
    """A client of the group's server that is no engine: it works for a second, then writes to an illegal address."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(DRIVER)}
    with open(log, "ab") as file:
        return subprocess.Popen(command, env=environment | {"CUDA_MPS_PIPE_DIRECTORY": pipe}, stdin=subprocess.DEVNULL,
                                stdout=file, stderr=file, start_new_session=True)


class RealGpu:
    """GPU 0, and vLLM as the kit's install.sh leaves it under /tmp."""

    real, name, root, ports, listen = True, 0, "/tmp/mv", PORTS, LISTEN

    def __init__(self, options):
        self.options, self.before = options, set(self.clients())
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root)

    def top(self):
        return f'nvml_library = "{find_nvml()}"\n'

    def binary(self):
        return ""

    def flags(self):
        flags = ["--kv-cache-memory-bytes", "4G", "--max-num-seqs", "256"]
        # From level DEBUG on vLLM logs prompts too.
        return flags + (["--enable-log-requests", "--enable-log-outputs"] if self.options.log_requests else [])

    def engine(self, name, port):
        """(command, environment, kind): `a` is started by the kit's script, so its kind has to be named; `b` by its own
        command, from which its kind can be guessed."""
        level = {"VLLM_LOGGING_LEVEL": "DEBUG"} if self.options.log_requests else {}
        if name == "a":
            command = ["bash", os.path.join(self.options.kit, "serve.sh"), str(port), "0.2", *self.flags()]
            return command, level, self.options.kind or "vllm"
        command = ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "/tmp/qwen05",
                   "--served-model-name", "qwen05", "--load-format", "dummy", "--gpu-memory-utilization", "0.2",
                   "--max-model-len", "4096", "--host", "127.0.0.1", "--port", str(port),
                   "--attention-backend", "FLASH_ATTN", "--uvicorn-log-level", "warning", "--enforce-eager"]
        return command + self.flags(), self.environment() | level, self.options.kind

    def environment(self):
        """As serve.sh has it."""
        with open("/tmp/vllm.pythonpath") as file:
            path = file.read().strip()
        return {
            "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_USE_DEEP_GEMM": "0",
            "VLLM_CACHE_ROOT": "/tmp/vllm-cache", "VLLM_CONFIG_ROOT": "/tmp/vllm-config",
            "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor-cache", "TRITON_CACHE_DIR": "/tmp/triton-cache",
        }

    def stray(self):
        command = [self.options.stray, "--foreign", "--name", "stray", "--memory-gib", "0.1", "--at", "1",
                   "--seconds", "8", "--fault", "illegal-address"]
        return run_stray(command, f"{self.root}/p", f"{self.root}/stray.log")

    def clients(self):
        """The pids that compute on the GPU, by nvidia-smi."""
        query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
        try:
            lines = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.splitlines()
        except (OSError, subprocess.SubprocessError):
            return []
        return [int(line) for line in lines if line.strip().isdigit()]

    def left(self):
        """GPU processes that were not there before the run; a killed one may take its time."""
        wait_for(lambda: set(self.clients()) <= self.before, 10, 0.5)
        return sorted(set(self.clients()) - self.before)

    def end(self):
        pass


class SimulatedGpu:
    """A simulated GPU of the watchdog's own binary."""

    real, name = False, UUID

    def __init__(self, options):
        self.options, self.template = options, options.engine_command or STAND_IN
        self.root = tempfile.mkdtemp(prefix="mv")
        self.ports, self.listen = (free_port(), free_port()), f"127.0.0.1:{free_port()}"
        self.socket = f"{self.root}/gpu.socket"
        os.symlink(options.watchdog, f"{self.root}/nvidia-cuda-mps-control")
        self.unpack_nvml()
        open(f"{self.root}/kmsg", "w").close()
        command = [options.watchdog, "sim", "gpu", "--uuid", UUID, "--seed", "1", "--socket", self.socket,
                   "--kernel-log", f"{self.root}/kmsg", "--let-go"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        if not wait_for(lambda: os.path.exists(self.socket), 10, 0.05):
            raise SystemExit("the simulated GPU did not start")

    def unpack_nvml(self):
        """Takes the stand-in library from `mpswarden demo`, which unpacks it into a folder of its own."""
        with tempfile.TemporaryDirectory(prefix="nv") as folder:
            command = [self.options.watchdog, "demo", "--engines", "1", "--for", "30s"]
            command += ["--web.listen-address", "127.0.0.1:0"]
            demo = subprocess.Popen(command, env=os.environ | {"TMPDIR": folder}, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            place = f"{folder}/**/libnvidia-ml.so.1"
            found = wait_for(lambda: glob.glob(f"{folder}/**/gpu.socket", recursive=True)
                             and glob.glob(place, recursive=True), 20, 0.1)
            if not found:
                raise SystemExit("the demo unpacks no libnvidia-ml.so.1")
            shutil.copy(found[0], f"{self.root}/libnvidia-ml.so.1")
            demo.terminate()
            demo.wait(30)

    def top(self):
        return f'nvml_library = "{self.root}/libnvidia-ml.so.1"\nkernel_log = "{self.root}/kmsg"\n'

    def binary(self):
        return f'binary = "{self.root}/nvidia-cuda-mps-control"\n'

    def engine(self, name, port):
        words = self.template.format(watchdog=self.options.watchdog, name=name, port=port, gpu=self.socket)
        return shlex.split(words), {}, self.options.kind

    def stray(self):
        command = [self.options.watchdog, "sim", "client", "fault", "--gpu", self.socket, "--name", "stray"]
        command += ["--seconds", "8", "--at", "1", "--memory", "100MiB"]
        return run_stray(command, f"{self.root}/p", f"{self.root}/stray.log")

    def left(self):
        return []

    def end(self):
        """Whatever is still on it ends with it."""
        self.process.kill()
        self.process.wait(10)
        time.sleep(0.2)
        shutil.rmtree(self.root, ignore_errors=True)


def free_port():
    """Below those that the kernel gives away by itself: an engine must get it again after a restart."""
    while True:
        with socket.socket() as probe:
            port = random.randrange(20000, 32000)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
