"""The chart's node agent over an MPS daemon and pods that it did not start: it finds them, names them by workload and
container, follows roll-outs and scale-downs, and changes nothing. podman plays the node, with cgroups and names of logs as
kubelet has them. Unattended; ends with 0, or with 1 and what was found, or with 77 and why it can't be played here.

    python3 tests/hosts/agent.py target/debug/mpswarden
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid

from chart import DRIVER, Chart, has_image
from kubelet import Pod
from machine import Podman, missing
from systemd import SKIPPED, check, play

PORT = 10677
# What hostPID and containerd make of the agent's container; podman 4.3 reads no hostPID.
AGENT = 'pidns = "host"\ncgroupns = "private"'
RESOURCE = "nvidia.com/gpu"
GROUP = "gpu"
# A control daemon as NVIDIA's device plugin runs it, in its own container.
DAEMON = """
mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"
file=$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid
rm -f "$file"
nvidia-cuda-mps-control -d
until [ -s "$file" ]; do sleep 0.1; done
exec tail --pid="$(cat "$file")" -n +1 -F "$CUDA_MPS_LOG_DIRECTORY/control.log"
"""
# In the place of vLLM: a client that has a short kernel now and then, so that none is in flight when it is ended.
CLIENT = ["sim", "client", "spin", "--seconds", "600", "--us", "10", "--gap", "500000", "--memory", "1GiB"]
CLIENT += ["--gpu", f"{DRIVER}/gpu.socket"]


class Play:
    """The steps, in order: each a sentence that holds."""

    def __init__(self, podman, node, chart, program, directory):
        self.podman, self.node, self.chart, self.program, self.directory = podman, node, chart, program, directory
        self.number = os.getpid()
        self.image, self.agent, self.gpu = f"localhost/mpswarden-agent:{self.number}", None, None
        self.root, self.logs, self.driver = (directory / name for name in ("mps", "logs", "driver"))
        self.containers, self.cgroups = {}, set()

    # What the node does.

    def container(self, name, words, *options, entry=None, log=None):
        """A container with the driver, as NVIDIA's toolkit brings it, and the link to its log that kubelet makes."""
        full = f"mw-{self.number}-{name}"
        command = ["create", "--name", full, "--network", "none", "--cap-drop", "ALL", "--volume", f"{self.driver}:{DRIVER}"]
        command += [*options, *(["--entrypoint", entry] if entry else []), self.image, *words]
        self.containers[name] = self.podman.run(*command).strip().splitlines()[-1]
        if log:
            (self.logs / f"{log}-{self.containers[name]}.log").touch()
        self.podman.run("start", full)

    def daemon_starts(self):
        pipe, log = (f"/mps/{RESOURCE}/{name}" for name in ("pipe", "log"))
        environment = ["--env", f"CUDA_MPS_PIPE_DIRECTORY={pipe}", "--env", f"CUDA_MPS_LOG_DIRECTORY={log}"]
        self.container("daemon", ["-ec", DAEMON], "--pid", "host", "--volume", f"{self.root}:/mps", *environment, entry="sh")
        self.podman.until("the daemon is there", (self.root / RESOURCE / "pipe" / "control").exists)

    def pod_starts(self, pod, container="vllm", namespace="prod"):
        """A pod with one container, a client of the daemon: what the plugin's Allocate gives it, kubelet's cgroup and log."""
        pipe = f"/mps/{RESOURCE}/pipe"
        cgroup = f"/kubepods/besteffort/pod{uuid.uuid4()}"
        self.cgroups.add(cgroup)
        given = ["--volume", f"{self.root / RESOURCE / 'pipe'}:{pipe}", "--env", f"CUDA_MPS_PIPE_DIRECTORY={pipe}"]
        self.container(pod, CLIENT, "--init", "--cgroup-parent", cgroup, *given, log=f"{pod}_{namespace}_{container}")

    def pod_leaves(self, pod):
        """As kubelet takes a pod down: TERM, KILL after its grace, the container and its cgroup are removed, then its log."""
        self.podman.run("rm", "--force", "--time", "2", f"mw-{self.number}-{pod}")
        for log in self.logs.glob(f"*{self.containers.pop(pod)}.log"):
            log.unlink()

    def values(self):
        repository, tag = self.image.split(":")
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "mps": {"root": str(self.root)},
            "agent": {"port": PORT, "containerLogs": str(self.logs), "stateDirectory": str(self.directory / "state")},
        }  # fmt: skip

    # What it finds.

    def metrics(self):
        return self.agent.get(self.agent.container("mpswarden"), PORT, "/metrics")

    def series(self, name, **labels):
        """The values of the series with these labels, by their labels."""
        found = {}
        for line in self.metrics().splitlines():
            series = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if series and series[1] == name and all(f'{key}="{value}"' in (series[2] or "") for key, value in labels.items()):
                found[series[2] or ""] = float(series[3])
        return found

    def value(self, name, **labels):
        return sum(self.series(name, **labels).values())

    def becomes(self, what, holds):
        self.agent.until(what, holds)

    def serves(self, engine):
        return self.value("mps_engine_state", engine=engine, state="serving") == 1

    def files(self):
        """Everything where the daemon is, but for what grows."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    # What is played.

    def is_a_node(self):
        """A node with a GPU, a daemon as the device plugin runs it, and two pods that share the GPU."""
        has_image(self.podman, self.program, self.directory, self.image)
        for path in (self.root, self.logs, self.driver, self.directory / "state"):
            path.mkdir()
        self.gpu = subprocess.Popen([self.program, "sim", "stage", self.driver], stdin=subprocess.DEVNULL)
        self.podman.until("the GPU is there", (self.driver / "gpu.socket").exists)
        self.daemon_starts()
        self.pod_starts("qwen-7d9f8b6c5-x2x4z")
        self.pod_starts("qwen-7d9f8b6c5-b5c6d")

    def finds_all(self):
        """The agent finds the daemon and both pods, and names them by workload and container."""
        before = self.files()
        made = self.chart.objects("mpswarden", self.values())
        configuration = self.directory / "configmap.json"
        configuration.write_text(json.dumps(made["ConfigMap"]))
        options = ["--network", "none", "--configmap", str(configuration)]
        volume = {"hostPath": {"path": str(self.driver)}}
        self.agent = Pod(self.node, made["DaemonSet"], f"mw-{self.number}-agent", self.directory, volume, options=options)
        self.agent.start()
        self.becomes("both engines serve", lambda: self.serves("qwen-vllm") and self.serves("qwen-vllm-2"))
        info = " ".join(self.series("mps_engine_info"))
        for label in ('pod="qwen-7d9f8b6c5-x2x4z"', 'namespace="prod"', 'container="vllm"', 'managed_by="others"'):
            check(label in info, f"{label} is not in {info}")
        check(self.value("mps_engine_attached") == 2 and self.value("mps_unknown_clients") == 0, "clients are not known")
        check(self.value("mps_engine_device_memory_bytes") == 2 << 30, "their memory is not known")
        check(self.files() == before, f"something was written where the daemon is: {self.files()}")

    def can_end_no_other_user(self):
        """The agent sees all processes of the node, and may end none of another user than its own, which is the daemon's."""
        self.container("other", ["infinity"], "--user", "65534", entry="sleep")
        pid = self.podman.run("inspect", "--format", "{{.State.Pid}}", f"mw-{self.number}-other").strip()
        agent = self.agent.container("mpswarden")
        check(self.agent.execute(agent, "test", "-d", f"/proc/{pid}") is not None, "it does not see the process")
        check(self.agent.execute(agent, "sh", "-c", f"! kill -0 {pid}") is not None, "it may signal the process")

    def follows_a_scale_down(self):
        """A pod that leaves is forgotten: no fault, nothing to be done."""
        self.pod_leaves("qwen-7d9f8b6c5-b5c6d")
        self.becomes("it is forgotten", lambda: self.value("mps_engine_exits_total", cause="removed") == 1)
        self.becomes("one serves on", lambda: self.value("mps_engine_state", state="serving") == 1)
        check(self.value("mps_faults_total") == 0, f"a fault was counted: {self.series('mps_faults_total')}")
        check(self.value("mps_action_needed") == 0, "somebody is asked to do something")

    def follows_a_roll_out(self):
        """The pod of another roll-out has the name of the one that it replaces."""
        names = {re.search(r'engine="([^"]*)"', labels)[1] for labels in self.series("mps_engine_info")}
        for old in [pod for pod in self.containers if pod.startswith("qwen-7d")]:
            self.pod_leaves(old)
        self.becomes("it is forgotten", lambda: self.value("mps_engine_exits_total", cause="removed") == 2)
        self.pod_starts("qwen-5c4f9d8b6c-zz7kq")
        self.becomes("the new one serves", lambda: self.value("mps_engine_state", state="serving") == 1)
        check(names <= {"qwen-vllm", "qwen-vllm-2"} and self.serves("qwen-vllm"), "its name is another")
        check(self.value("mps_faults_total") == 0, "a roll-out was a fault")

    def sees_a_crash(self):
        """A container that crashes is a fault, until kubelet has started it again."""
        pod = next(name for name in self.containers if name.startswith("qwen-5c"))
        self.podman.run("kill", "--signal", "USR1", f"mw-{self.number}-{pod}")
        self.becomes("the fault", lambda: self.value("mps_fault_active", fault="engine_died") == 1)
        check(self.value("mps_action_needed", by="owner", action="restart_engines") == 1, "nobody is asked to start it")
        self.podman.run("start", f"mw-{self.number}-{pod}")
        self.becomes("it is over", lambda: self.value("mps_fault_active") == 0 and self.serves("qwen-vllm"))

    def waits_for_a_daemon(self):
        """A daemon whose pod is replaced is waited for, and looked after again."""
        self.podman.run("rm", "--force", "--time", "2", f"mw-{self.number}-daemon")
        self.becomes("it is missed", lambda: self.value("mps_action_needed", action="start_control") == 1)
        self.daemon_starts()
        self.becomes("it is there", lambda: self.value("mps_control_up") == 1 and self.value("mps_action_needed", action="start_control") == 0)

    STEPS = (is_a_node, finds_all, can_end_no_other_user, follows_a_scale_down, follows_a_roll_out, sees_a_crash, waits_for_a_daemon)

    def last_words(self):
        return self.agent.last_words() if self.agent else ""

    def end(self):
        if self.agent:
            self.agent.end()
        for name in [*self.containers, "daemon"]:
            self.podman.run("rm", "--force", "--time", "1", f"mw-{self.number}-{name}", ends=None)
        if self.gpu:
            self.gpu.kill()
            self.gpu.wait()
        self.podman.run("rmi", "--force", self.image, ends=None)
        for cgroup in self.cgroups:
            remove_cgroup(cgroup)


def remove_cgroup(path):
    """podman leaves the parents of its containers."""
    for hierarchy in pathlib.Path("/sys/fs/cgroup").iterdir():
        try:
            (hierarchy / path.lstrip("/")).rmdir()
        except OSError:
            # It is not there, or was never made.
            continue


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    arguments = parser.parse_args()
    chart = Chart()
    why = missing() or chart.missing
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        return SKIPPED
    # Short: paths of sockets are below it.
    with tempfile.TemporaryDirectory(prefix="mw-agent-", dir="/tmp") as directory, Podman() as podman, Podman(AGENT) as node:
        played = Play(podman, node, chart, arguments.program.resolve(), pathlib.Path(directory))
        try:
            return play(played)
        finally:
            played.end()


if __name__ == "__main__":
    sys.exit(main())
