"""Engines that systemd runs, under a real systemd, over a simulated driver: units with the gate in front, which mpswarden
finds, and restarts through systemd. Unattended; ends with 0, or with 1 and what was found, or with 77 and why it can't be
played here.

    python3 tests/hosts/external_units.py target/debug/mpswarden
"""

import argparse
import json
import os
import pathlib
import re
import sys

from machine import Machine, Podman, missing
from systemd import SKIPPED, check, play

HERE = pathlib.Path(__file__).resolve().parent
CONFIGURATION = "/etc/mpswarden.toml"
PIPE = "/run/mpswarden/llms"
ENGINES = {"a": 8001, "b": 8002}
# As an administrator has them: each starts when the machine does, whether mpswarden is there or not.
TEMPLATE = f"""[Unit]
Description=vLLM %i
StartLimitIntervalSec=60
StartLimitBurst=4

[Service]
User=llm
Environment=CUDA_MPS_PIPE_DIRECTORY={PIPE} HF_HOME=/var/cache/llm
EnvironmentFile=/etc/vllm-%i
ExecStart=/usr/bin/mpswarden gate --turn 3s llms/%i -- /opt/vllm/bin/vllm serve Qwen/Qwen2.5-0.5B-Instruct --port $PORT
Restart=always
RestartSec=1
"""
SERVICE = f"""[Service]
Type=notify
ExecStart=/usr/bin/mpswarden run --config {CONFIGURATION}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
Delegate=yes
"""
HEAD = """state_directory = "/var/lib/mpswarden"
[[group]]
name = "llms"
gpu = 0
mode = "enforce"
"""


def engine(name, restart_by):
    return f"""[[group.engine]]
name = "{name}"
user = "llm"
external = {{ systemd_unit = "vllm@{name}.service" }}
restart_by = "{restart_by}"
url = "http://127.0.0.1:{ENGINES[name]}"
start_timeout = "60s"
stop_timeout = "5s"
"""


class Play:
    """The steps, in order: each a sentence that holds."""

    def __init__(self, machine, program):
        self.machine, self.program, self.sh = machine, program, machine.sh

    # What it finds.

    def group(self):
        return json.loads(self.sh("mpswarden status --json"))["groups"][0]

    def engine(self, name):
        return next(engine for engine in self.group()["engines"] if engine["name"] == name)

    def becomes(self, what, holds):
        """Waits until the group's status is so, and gives it."""
        self.machine.until(f"the group is {what}", "mpswarden status --json", lambda said: holds(json.loads(said)["groups"][0]))
        return self.group()

    def serves(self, but=()):
        """All engines serve, but for some."""
        return self.becomes("one that serves", lambda group: group["state"] == "serving" and all(
            engine["state"] == "serving" and engine["attached"] for engine in group["engines"] if engine["name"] not in but
        ))  # fmt: skip

    def unit(self, name, key):
        return self.sh(f"systemctl show --property {key} --value vllm@{name}").strip()

    def journal(self, since):
        return self.sh(f"journalctl --unit mpswarden --no-pager --output cat --after-cursor '{since}'")

    def now(self):
        return re.search(r"-- cursor: (.*)", self.sh("journalctl --sync; journalctl --lines 0 --show-cursor --no-pager"))[1]

    def write(self, path, text):
        self.sh(f"cat >{path} <<'END'\n{text}END")

    def configure(self, **restart_by):
        self.write(CONFIGURATION, HEAD + "".join(engine(name, restart_by.get(name, "supervisor")) for name in ENGINES))

    def fault(self):
        """A client of the same user runs a kernel that faults: every client of the server loses its contexts."""
        client = "/opt/simulation/mpswarden sim client fault --at 0.1 --seconds 5 --gpu /opt/driver/gpu.socket"
        self.sh(f"runuser -u llm -- env CUDA_MPS_PIPE_DIRECTORY={PIPE} {client}", ends=None)

    # What is played.

    def comes_up(self):
        """Units that start before mpswarden wait at the gate; with it they become clients, one after the other."""
        self.machine.put(self.program, "/usr/bin/mpswarden")
        self.machine.put(HERE / "driver", "/root/host")
        self.sh("sh /root/host/prepare && useradd --system llm && install -d -o llm /var/cache/llm")
        self.write("/etc/systemd/system/vllm@.service", TEMPLATE)
        self.write("/etc/systemd/system/mpswarden.service", SERVICE)
        for name, port in ENGINES.items():
            self.write(f"/etc/vllm-{name}", f"PORT={port}\n")
        self.configure()
        self.sh("systemctl daemon-reload && systemctl start vllm@a vllm@b")
        said = self.sh(f"mpswarden check {CONFIGURATION} 2>&1")
        check("warning" not in said.replace("kernel_log", ""), said)
        self.sh("systemctl start mpswarden")
        group = self.serves()
        for one in group["engines"]:
            check(one["managed_by"] == "others", f"{one}")
            check(self.unit(one["name"], "MainPID") == str(one["main"]["pid"]), f"{one}")

    def mends_a_fault(self):
        """A fatal fault: both units are stopped and started through systemd, in their order, and serve as clients."""
        before = {name: self.unit(name, "InvocationID") for name in ENGINES}
        generation = self.group()["generation"]
        self.fault()
        self.becomes("a new generation", lambda group: group["generation"] > generation)
        self.serves()
        for name in ENGINES:
            check(self.unit(name, "InvocationID") != before[name], f"vllm@{name} was not started again")
            check(self.unit(name, "NRestarts") == "0", f"systemd restarted vllm@{name} by itself")
        began = [int(self.unit(name, "ExecMainStartTimestampMonotonic")) for name in ENGINES]
        check(began == sorted(began) and began[1] - began[0] > 500_000, f"they started at {began}")

    def waits_for_systemd(self):
        """A unit that crashes is started by systemd itself: that is waited for, and the other serves on."""
        since, other = self.now(), self.unit("b", "InvocationID")
        incarnation = self.engine("a")["incarnation"]
        self.sh(f"kill -KILL {self.unit('a', 'MainPID')}")
        self.becomes("one with a new engine", lambda group: group["engines"][0]["incarnation"] > incarnation)
        self.serves()
        check("engine_died" in self.journal(since), self.journal(since))
        check(self.unit("b", "InvocationID") == other, "the other was restarted")

    def respects_a_stop(self):
        """A unit that its administrator stops is no fault and stays stopped; once it is started it is found."""
        since = self.now()
        self.sh("systemctl stop vllm@b")
        self.becomes("one without b", lambda group: group["engines"][1]["state"] == "stopped")
        self.serves(but=["b"])
        check("engine_died" not in self.journal(since), self.journal(since))
        check(self.unit("b", "ActiveState") == "inactive", "it was started")
        self.sh("systemctl start vllm@b")
        self.serves()

    def obeys(self):
        """Orders go through systemd."""
        self.sh("mpswarden stop llms/a --wait")
        check(self.unit("a", "ActiveState") == "inactive", self.unit("a", "ActiveState"))
        self.sh("mpswarden start llms/a --wait")
        check(self.unit("a", "ActiveState") == "active", self.unit("a", "ActiveState"))
        self.serves()

    def signals(self):
        """With restart_by = "signal" its processes are signalled, and systemd starts them again by itself."""
        self.configure(a="signal", b="signal")
        self.sh("systemctl reload mpswarden")
        generation, restarts = self.group()["generation"], int(self.unit("a", "NRestarts"))
        self.fault()
        self.becomes("a new generation", lambda group: group["generation"] > generation)
        self.serves()
        check(int(self.unit("a", "NRestarts")) > restarts, "systemd did not restart it")
        self.configure()
        self.sh("systemctl reload mpswarden")

    def ends_with_its_daemon(self):
        """mpswarden ends with its daemon, and ends the units first; its next start has them started again."""
        self.sh("systemctl stop mpswarden")
        for name in ENGINES:
            check(self.unit(name, "ActiveState") == "inactive", f"vllm@{name} is {self.unit(name, 'ActiveState')}")
        check(not self.sh("pgrep --list-full --full '[s]im engine|[n]vidia-cuda-mps'", ends=None), "something is left")
        self.sh("systemctl start mpswarden")
        self.serves()

    STEPS = (
        comes_up, mends_a_fault, waits_for_systemd, respects_a_stop, obeys, signals, ends_with_its_daemon,
    )  # fmt: skip

    def last_words(self):
        journal = "journalctl --unit mpswarden --unit 'vllm@*' --no-pager --lines 60"
        return self.sh(f"systemctl status --no-pager mpswarden 'vllm@*'; {journal}; mpswarden status", ends=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    arguments = parser.parse_args()
    why = missing()
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        return SKIPPED
    with Podman() as podman, Machine(podman, f"mpswarden-external-{os.getpid()}") as machine:
        return play(Play(machine, arguments.program.resolve()))


if __name__ == "__main__":
    sys.exit(main())
