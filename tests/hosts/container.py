"""The image for a machine with a GPU, started by the command that docs/deploy.md shows, over a simulated driver:
it serves, outlives a crash and a stop, and ends in order. Unattended; ends with 0, or with 1 and what was found, or
with 77 and why it can't be played here.

    python3 tests/hosts/container.py target/debug/mpswarden
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shlex
import socket
import subprocess
import sys
import tempfile
import urllib.request

from machine import IMAGE, Failed, Podman, missing
from systemd import SKIPPED, check, play

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What NVIDIA's container toolkit brings: the driver's library, its GPU and the MPS binaries; here simulated, and there once
# the container runs.
DRIVER = "/opt/driver"
LINKS = (
    f"ln -s {DRIVER}/libnvidia-ml.so.1 /usr/lib/x86_64-linux-gnu/ && "
    "ln -s /usr/bin/mpswarden /usr/bin/nvidia-cuda-mps-control"
)
ENTRY = f"""#!/bin/sh
[ "$1" = run ] || exec /usr/bin/mpswarden "$@"
export MPSWARDEN_SIM_GPU={DRIVER}/gpu.socket
rm -f {DRIVER}/gpu.socket
setsid --fork /usr/bin/mpswarden sim stage {DRIVER} </dev/null
until [ -S {DRIVER}/gpu.socket ]; do sleep 0.1; done
exec /usr/bin/mpswarden "$@"
"""
# In the place of vLLM, as `command` names it in the image.
VLLM = """#!/bin/sh
model=$2
shift 2
exec mpswarden sim engine --name "vllm-$$" --gpu "$MPSWARDEN_SIM_GPU" --speaks vllm --model "$model" \\
  --memory 20GiB --startup 1s "$@"
"""

# A command with a limit of its own gets no default ones, and a runtime in a container may raise none.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


def documented():
    """The arguments of the command in the documentation, from `run` on."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    command = re.search(r"^docker (run -d --name mpswarden .*?)\n```", page, re.MULTILINE | re.DOTALL)
    return shlex.split(command[1].replace("\\\n", " "))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def configuration(directory):
    """The shipped one, with what the documentation changes for a container."""
    text = (ROOT / "deploy" / "mpswarden.toml").read_text()
    for old, new in (
        ("127.0.0.1:10677", "0.0.0.0:10677"), ("/opt/vllm/bin/vllm", "vllm"), ('mode = "observe" ', 'mode = "enforce" '),
        ('HF_HOME = "/var/cache/mpswarden/huggingface", ', ""),
    ):  # fmt: skip
        check(old in text, f"the shipped configuration lacks {old}")
        text = text.replace(old, new)
    (directory / "mpswarden.toml").write_text(re.sub(r"^user = .*\n", "", text, flags=re.MULTILINE))


class Play:
    """The steps, in order: each a sentence that holds."""

    def __init__(self, podman, program, directory):
        self.podman, self.program, self.directory = podman, program, directory
        number = os.getpid()
        self.image, self.name = f"localhost/mpswarden-vllm:{number}", f"mpswarden-{number}"
        self.volumes = {"mpswarden-state": f"mpswarden-state-{number}", "huggingface": f"huggingface-{number}"}
        self.port = free_port()

    def command(self):
        """The documented command with the names, the port and the driver of this play."""
        arguments = documented()
        check(arguments[-1] == "mpswarden-vllm" and "--gpus" in arguments, f"the documented command is another: {arguments}")
        at = arguments.index("--gpus")
        arguments[at : at + 2] = LIMITS
        arguments[-1], arguments[arguments.index("mpswarden")] = self.image, self.name
        changes = {"/etc/mpswarden:/": f"{self.directory}:/", "127.0.0.1:10677:": f"127.0.0.1:{self.port}:"}
        changes |= {"memlock=-1": f"memlock={resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]}"}
        changes |= {f"{name}:/": f"{own}:/" for name, own in self.volumes.items()}
        for old, new in changes.items():
            check(sum(one.startswith(old) for one in arguments) == 1, f"{old} is not once in the documented command")
            arguments = [one.replace(old, new, 1) if one.startswith(old) else one for one in arguments]
        return arguments

    def sh(self, *words, ends=0):
        return self.podman.run("exec", self.name, *words, ends=ends)

    def status(self):
        return json.loads(self.sh("mpswarden", "status", "--json"))["groups"][0]

    def pid(self):
        return self.podman.run("inspect", "--format", "{{.State.Pid}}", self.name)

    def serves(self):
        def all_serve():
            said = self.sh("mpswarden", "status", "--json", ends=None)
            return said.startswith("{") and len(re.findall(r'"state": ?"serving"', said)) == 3

        self.podman.until("all engines serve", all_serve, self.last_words)
        return self.status()

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.read().decode()

    # What is played.

    def is_an_image(self):
        """An image with mpswarden and engines is made."""
        made = f"{self.name}-made"
        self.podman.run("run", "--name", made, "--network=none", IMAGE, "sh", "-c", LINKS)
        self.podman.run("cp", str(self.program), f"{made}:/usr/bin/mpswarden")
        for name, text in (("vllm", VLLM), ("entry", ENTRY)):
            file = self.directory / name
            file.write_text(text)
            file.chmod(0o755)
            self.podman.run("cp", str(file), f"{made}:/usr/local/bin/{name}")
        changes = ('ENTRYPOINT ["/usr/local/bin/entry"]', 'CMD ["run", "--config", "/etc/mpswarden/mpswarden.toml"]')
        entry = [word for change in changes for word in ("--change", change)]
        self.podman.run("commit", *entry, made, self.image)

    def demonstrates(self):
        """Without a GPU the image plays the demo, as an unprivileged user without a network, and ends with 0."""
        demo = ["demo", "--for", "10s", "--web.listen-address", "0.0.0.0:10677"]
        self.podman.run("run", "--rm", "--network=none", "--user", "65534:65534", "--init", self.image, *demo)

    def serves_as_documented(self):
        """Started by the documented command all engines serve, and the host reads its metrics."""
        configuration(self.directory)
        self.podman.run(*self.command())
        group = self.serves()
        check(all(engine["attached"] for engine in group["engines"]), f"outside MPS: {group['engines']}")
        metrics = self.get("/metrics")
        check('mps_group_state{group="small-llms",state="serving"} 1' in metrics, "the metrics don't say that it serves")
        check(re.search(r'^mpswarden_source_up\{.*source="kmsg".*\} 1$', metrics, re.MULTILINE), "the kernel log can't be read")

    def mends(self):
        """A group whose server died is mended, and the incident is kept."""
        self.sh("sh", "-c", f"kill -KILL {self.status()['server_pid']}")
        self.podman.until("a new generation", lambda: self.status()["generation"] == 2, self.last_words)
        self.serves()
        check("server_died" in self.sh("mpswarden", "incidents"), "there is no incident")

    def survives_a_crash(self):
        """A watchdog that is killed takes its container along, which the engine starts again; nothing is left twice."""
        before = self.pid()
        self.sh("sh", "-c", "kill -KILL $(pgrep -f 'mpswarden run')", ends=None)
        self.podman.until("another one runs", lambda: self.pid() not in ("0\n", before), self.last_words)
        self.serves()
        check("server_died" in self.sh("mpswarden", "incidents"), "the incident was forgotten")

    def stops(self):
        """A stop ends it in order, with 0, and a start finds its incidents again."""
        self.podman.run("stop", self.name)
        code = self.podman.run("inspect", "--format", "{{.State.ExitCode}}", self.name).strip()
        check(code == "0", f"it ended with {code}")
        check("stopped in order" in self.podman.run("logs", self.name), "it was not stopped in order")
        self.podman.run("start", self.name)
        self.serves()
        check("server_died" in self.sh("mpswarden", "incidents"), "the incident was forgotten")

    STEPS = (is_an_image, demonstrates, serves_as_documented, mends, survives_a_crash, stops)

    def last_words(self):
        return self.podman.run("logs", "--tail", "40", self.name, ends=None) + self.sh("mpswarden", "status", ends=None)

    def end(self):
        for name in (self.name, f"{self.name}-made"):
            self.podman.run("rm", "--force", "--time", "5", name, ends=None)
        self.podman.run("volume", "rm", *self.volumes.values(), ends=None)
        self.podman.run("rmi", self.image, ends=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    arguments = parser.parse_args()
    why = missing()
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="mw-container-") as directory, Podman() as podman:
        podman.has_image()
        played = Play(podman, arguments.program.resolve(), pathlib.Path(directory))
        try:
            return play(played)
        finally:
            played.end()


if __name__ == "__main__":
    sys.exit(main())
