"""The chart's sidecar as a pod, over a simulated GPU: an MPS daemon, mpswarden beside it, two engines behind the gate, and a
stand-in for kubelet. A fault in one engine's container, a crash of mpswarden, engines that stay after a fault. Unattended;
ends with 0, or with 1 and what was found, or with 77 and why it can't be played here.

    python3 tests/hosts/sidecar.py target/debug/mpswarden
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import sys
import tempfile

from chart import DRIVER, Chart, has_image
from kubelet import Pod
from machine import Podman, missing
from systemd import SKIPPED, check, play

ENGINES = {"qwen-a": 8001, "qwen-b": 8002}
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
PORT = 10677
# From the gate to an engine that answers, at least: its model is loaded for so long.
STARTUP = datetime.timedelta(seconds=1)


class Play:
    """The steps, in order: each a sentence that holds."""

    def __init__(self, podman, chart, program, directory):
        self.podman, self.chart, self.program, self.directory = podman, chart, program, directory
        self.image, self.name = f"localhost/mpswarden-sidecar:{os.getpid()}", f"mw-sidecar-{os.getpid()}"
        self.pod = None

    def values(self):
        """As docs/kubernetes.md has them, with shorter times."""
        repository, tag = self.image.split(":")
        engine = lambda name, port: {  # noqa: E731
            "name": name, "image": self.image, "port": port, "memory": "20GiB", "imagePullPolicy": "Never",
            "command": ["vllm", "serve", MODEL, "--port", str(port)],
        }  # fmt: skip
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "agent": {"enabled": False},
            "sidecar": {
                "enabled": True, "restartBy": "pod", "restartAfter": "15s", "port": PORT,
                "engines": [engine(name, port) for name, port in ENGINES.items()],
            },
        }  # fmt: skip

    # What it finds.

    def metrics(self):
        return self.pod.get(self.pod.container("mpswarden"), PORT, "/metrics")

    def value(self, name, **labels):
        """The sum of the series with these labels."""
        found = 0.0
        for line in self.metrics().splitlines():
            series = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if series and series[1] == name and all(f'{key}="{value}"' in (series[2] or "") for key, value in labels.items()):
                found += float(series[3])
        return found

    def serve(self):
        """Both engines serve, and kubelet calls the pod ready."""
        serving = lambda name: self.value("mps_engine_state", engine=name, state="serving") == 1  # noqa: E731
        self.pod.until("the pod is ready", lambda: self.pod.is_ready() and all(serving(name) for name in ENGINES))

    def passed(self):
        """Who passed the gate, and when, in this order."""
        lines = [json.loads(line) for line in self.pod.logs("mpswarden").splitlines() if "passes the gate" in line]
        name = lambda line: re.search(r"\((?:[^/)]*/)?([^)]*)\) of user", line["message"])[1]  # noqa: E731
        return [(name(line), datetime.datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00"))) for line in lines]

    def passed_in_turn(self, passed):
        """Each engine once, and the second when the first was ready, which takes a second."""
        check(sorted(name for name, _ in passed) == sorted(ENGINES), f"these passed the gate: {passed}")
        check(passed[1][1] - passed[0][1] >= STARTUP, f"the second did not wait for the first: {passed}")

    def inject(self, engine, fault):
        answer = self.pod.get(self.pod.container(engine), ENGINES[engine], "/sim/inject", "POST", json.dumps({"fault": fault}))
        check("200 OK" in answer, f"{fault} can't be injected: {answer}")

    def is_asked(self, engine):
        """Has a request: an engine without any does not notice that its context died."""
        body = json.dumps({"model": MODEL, "prompt": "x", "max_tokens": 4})
        self.pod.get(self.pod.container(engine), ENGINES[engine], "/v1/completions", "POST", body)

    def starts(self):
        return {one.name: one.starts for one in self.pod.running}

    def incidents(self):
        return self.pod.execute(self.pod.container("mpswarden"), "mpswarden", "incidents") or ""

    # What is played.

    def is_made(self):
        """The chart's pod is made: a driver as the node has it, and the containers as the manifest has them."""
        has_image(self.podman, self.program, self.directory, self.image)
        workload = self.chart.objects("small-llms", self.values())["Deployment"]
        hardware = {
            "name": "driver", "image": self.image, "imagePullPolicy": "Never", "args": ["sim", "stage", DRIVER],
            "startupProbe": {"exec": {"command": ["test", "-S", f"{DRIVER}/gpu.socket"]}},
        }  # fmt: skip
        options = ["--network", "none"]
        self.pod = Pod(self.podman, workload, self.name, self.directory, {"emptyDir": {}}, [hardware], options)
        self.pod.switch_on()

    def starts_in_order(self):
        """The daemon first, mpswarden next, then the engines, the second once the first is ready; all are called by name."""
        self.pod.start()
        self.serve()
        self.passed_in_turn(self.passed())
        check(self.value("mps_engine_attached") == 2, "an engine runs outside MPS")

    def mends(self):
        """After a fault in one engine's container both end; they start again in order, and nothing else did."""
        passed = len(self.passed())
        self.inject("qwen-a", "illegal-address")
        for name in ENGINES:
            self.is_asked(name)
        self.pod.until("both were started again", lambda: all(self.starts()[name] == 2 for name in ENGINES))
        self.serve()
        self.passed_in_turn(self.passed()[passed:])
        starts = self.starts()
        check(starts["mps"] == starts["mpswarden"] == 1, f"more was started again: {starts}")
        check(self.value("mps_faults_total", fault="gpu_fault", engine="") == 1, "the fault was not counted")
        check("gpu_fault" in self.incidents(), "there is no incident")
        check(self.value("mps_foreign_processes") == 0, "something computes outside MPS")

    def survives_a_crash(self):
        """mpswarden is killed and started again: the engines serve on, and stay in service."""
        told = len(self.pod.told)
        before = {name: self.starts()[name] for name in ENGINES}
        self.podman.run("kill", "--signal", "KILL", self.pod.container("mpswarden").full_name)
        self.pod.until("mpswarden was started again", lambda: self.starts()["mpswarden"] == 2)
        self.serve()
        unready = [line for line in self.pod.told[told:] if "not ready" in line]
        check({name: self.starts()[name] for name in ENGINES} == before, "an engine was started again")
        check(not unready, f"engines were taken out of service: {unready}")
        check("gpu_fault" in self.incidents(), "the incident was forgotten")

    def restarts_the_pod(self):
        """Engines that stay after a fault: mpswarden ends with 88, all containers are started again, and all serve."""
        for name in ENGINES:
            self.inject(name, "stay")
        self.inject("qwen-b", "illegal-address")
        self.pod.until("all were started again", lambda: self.pod.restarts_of_all == 1)
        self.serve()
        check(self.incidents().count("gpu_fault") >= 2, f"an incident was forgotten:\n{self.incidents()}")

    STEPS = (is_made, starts_in_order, mends, survives_a_crash, restarts_the_pod)

    def last_words(self):
        return self.pod.last_words() if self.pod else ""

    def end(self):
        if self.pod:
            self.pod.end()
        self.podman.run("rmi", "--force", self.image, ends=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    arguments = parser.parse_args()
    chart = Chart()
    why = missing() or chart.missing
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="mw-sidecar-") as directory, Podman() as podman:
        played = Play(podman, chart, arguments.program.resolve(), pathlib.Path(directory))
        try:
            return play(played)
        finally:
            played.end()


if __name__ == "__main__":
    sys.exit(main())
