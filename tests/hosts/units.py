"""An MPS daemon and engines in systemd units of their own, as deploy/ has them, under a real systemd, with mpswarden as their
watchdog and its gate in front of the engines. Unattended; ends with 0, or with 1 and what was found, or with 77 and why it
can't be played here.

    python3 tests/hosts/units.py target/debug/mpswarden
"""

import argparse
import json
import os
import pathlib
import re
import sys

from machine import Machine, Podman, missing
from systemd import HERE, SKIPPED, check, play

ROOT = HERE.parents[1]
UNITS = ("mpswarden.service", "mps-control.service", "mps-engine@.service")
ENGINES = {"qwen-a": 8001, "qwen-b": 8002}


def documented():
    """The configuration and an engine's file, as docs/deploy.md shows them."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    section = page.split("## Engines in units or containers of their own")[1]
    return re.search(r"```toml\n(.*?)```", section, re.DOTALL)[1], re.search(r"<<'END'\n(.*?)END", section, re.DOTALL)[1]


class Play:
    """The steps, in order: each a sentence that holds."""

    def __init__(self, machine, program):
        self.machine, self.program, self.sh = machine, program, machine.sh

    def status(self):
        return json.loads(self.sh("mpswarden status --json"))["groups"][0]

    def serve(self):
        """Both engines serve, under their names."""

        def holds(said):
            group = json.loads(said)["groups"][0] if said.startswith("{") else {"engines": []}
            return sorted(one["name"] for one in group["engines"] if one["state"] == "serving") == sorted(ENGINES)

        self.machine.until("both engines serve", "mpswarden status --json", holds)
        return self.status()

    def show(self, unit, what):
        return self.sh(f"systemctl show --property {what} --value {unit}").strip()

    def pids(self):
        return {name: self.show(f"mps-engine@{name}", "MainPID") for name in ENGINES}

    def passed(self):
        said = self.sh("journalctl --sync; journalctl --unit mpswarden --no-pager --output cat")
        return re.findall(r"\(mps/([^)]*)\) of user \d+ passes the gate of \S+ after ([\d.]+) s", said)

    def post(self, port, path, body):
        """Asks an engine; whatever it answers."""
        body = json.dumps(body)
        request = f"POST {path} HTTP/1.0\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}"
        script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf \"$0\" >&3; cat <&3"
        self.sh(f"timeout 10 bash -c '{script}' '{request}'", ends=None)

    # What is played.

    def is_set_up(self):
        """Units and configuration are put where the documentation says; systemd has nothing to say about them."""
        self.machine.put(self.program, "/usr/bin/mpswarden")
        self.machine.put(HERE / "driver", "/root/host")
        self.sh("useradd --system --home-dir /var/cache/mpswarden --create-home mpswarden && sh /root/host/prepare")
        for unit in UNITS:
            self.machine.put(ROOT / "deploy" / unit, f"/etc/systemd/system/{unit}")
        configuration, engine = documented()
        self.sh(f"mkdir -p /etc/mpswarden/engines && cat >/etc/mpswarden/mpswarden.toml <<'END'\n{configuration}END")
        for name, port in ENGINES.items():
            self.sh(f"cat >/etc/mpswarden/engines/{name}.env <<'END'\n{engine.replace('8001', str(port))}END")
        self.sh("systemctl daemon-reload")
        said = self.sh("systemd-analyze verify mps-control.service mps-engine@qwen-a.service")
        check(said == "", f"verify has something to say: {said}")

    def starts_in_order(self):
        """All units are started at once; the second engine waits until the first is ready, and each is up when it serves."""
        self.sh("systemctl start mps-control mpswarden " + " ".join(f"mps-engine@{name}" for name in ENGINES))
        group = self.serve()
        check(all(one["attached"] for one in group["engines"]), f"one runs outside MPS: {group['engines']}")
        passed = self.passed()
        check(sorted(name for name, _ in passed) == sorted(ENGINES), f"these passed the gate: {passed}")
        check(float(passed[1][1]) >= 1, f"the second did not wait for the first, which starts within a second: {passed}")

    def mends(self):
        """After a fault in one engine systemd starts both again, in order, and nothing else."""
        before, passed = self.pids(), len(self.passed())
        self.post(8001, "/sim/inject", {"fault": "illegal-address"})
        # One without a request does not notice that its context died.
        self.post(8002, "/v1/completions", {"prompt": "x", "max_tokens": 400})
        self.machine.until("both are others", "true", lambda _: all(before[name] != pid for name, pid in self.pids().items()))
        self.serve()
        again = sorted(name for name, _ in self.passed()[passed:])
        check(again == sorted(ENGINES), f"these passed the gate: {again}")
        check(self.show("mps-control", "NRestarts") == "0", "the daemon was started again")
        check("gpu_fault" in self.sh("mpswarden incidents"), "there is no incident")

    def survives_a_crash(self):
        """mpswarden is killed and started again: daemon and engines run on, and are looked after again."""
        before = self.pids()
        self.sh("systemctl kill --signal KILL --kill-who main mpswarden")
        self.machine.until("it is up", "systemctl is-active mpswarden", lambda said: said == "active\n")
        self.serve()
        check(self.pids() == before, "an engine was started again")

    def never_outside_mps(self):
        """While the daemon is stopped no engine starts; once it is there they pass."""
        self.sh("systemctl stop mps-control")
        self.sh("systemctl restart --no-block " + " ".join(f"mps-engine@{name}" for name in ENGINES))
        journal = "journalctl --unit mps-engine@qwen-a --no-pager --output cat --lines 20"
        self.machine.until("it waits at the gate", journal, lambda said: "gate: waiting for daemon" in said)
        self.sh("systemctl start mps-control")
        group = self.serve()
        check(all(one["attached"] for one in group["engines"]), f"one runs outside MPS: {group['engines']}")

    STEPS = (is_set_up, starts_in_order, mends, survives_a_crash, never_outside_mps)

    def last_words(self):
        journal = "journalctl --no-pager --output cat --lines 40 --unit mpswarden --unit mps-control --unit 'mps-engine@*'"
        return self.sh(f"{journal}; mpswarden status", ends=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    arguments = parser.parse_args()
    why = missing()
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        return SKIPPED
    # As on a host: no container is above its units.
    with Podman() as podman, Machine(podman, f"mpswarden-units-{os.getpid()}", ["--cgroupns", "private"]) as machine:
        return play(Play(machine, arguments.program.resolve()))


if __name__ == "__main__":
    sys.exit(main())
