"""The package on a Debian with a real systemd: installed, started as it is shipped, reloaded, crashed, upgraded, booted,
removed. Unattended; ends with 0, or with 1 and what was found, or with 77 and why it can't be played here.

    python3 tests/hosts/systemd.py PACKAGE NEWER_PACKAGE
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

from machine import Failed, Machine, Podman, missing

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
CONFIGURATION = "/etc/mpswarden/mpswarden.toml"
ENGINES = ("qwen-a", "qwen-b")
EXPOSURE = 60


def check(holds, what):
    if not holds:
        raise Failed(what)


class Play:
    """The steps, in order: each a sentence that holds."""

    def __init__(self, machine, package, newer):
        self.machine, self.packages = machine, (package, newer)
        self.sh = machine.sh

    # What it finds.

    def status(self):
        return json.loads(self.sh("mpswarden status --json"))["groups"][0]

    def serves(self):
        """All engines serve; the group's status."""
        both = lambda said: re.findall(r'"state": ?"serving"', said)  # noqa: E731
        self.machine.until("all engines serve", "mpswarden status --json", lambda said: len(both(said)) == 1 + len(ENGINES))
        return self.status()

    def group_becomes(self, what, holds):
        """Waits until the group's status is so."""
        self.machine.until(f"the group is {what}", "mpswarden status --json", lambda said: holds(json.loads(said)["groups"][0]))

    def another_runs(self, before):
        """Waits until another mpswarden answers than that of this pid."""
        pid = "systemctl show --property MainPID --value mpswarden"
        self.machine.until("another one runs", pid, lambda said: int(said) not in (0, before))
        self.machine.until("it answers", "mpswarden status --json", lambda said: said.startswith("{"))

    def pids(self):
        """Of mpswarden, the daemon, the server and each engine."""
        group = self.status()
        own = int(self.sh("systemctl show --property MainPID --value mpswarden"))
        return [own, group["control"]["pid"], group["server_pid"], *(engine["main"]["pid"] for engine in group["engines"])]

    def journal(self, since):
        """The unit's lines from that cursor on."""
        return self.sh(f"journalctl --unit mpswarden --no-pager --output cat --after-cursor '{since}'").splitlines()

    def now(self):
        said = self.sh("journalctl --sync; journalctl --lines 0 --show-cursor --no-pager")
        return re.search(r"-- cursor: (.*)", said)[1]

    def left(self):
        """Processes of the unit, and of anything that it started."""
        return self.sh("pgrep --list-full --full '[n]vidia-cuda-mps|[s]im engine|[m]pswarden run'", ends=None)

    def configure(self, old, new):
        text = self.sh(f"cat {CONFIGURATION}")
        check(old in text, f"{old} is not in the configuration:\n{text}")
        self.sh(f"cat >{CONFIGURATION} <<'END'\n{text.replace(old, new)}END")

    # What is played.

    def installs(self):
        """The package installs with all that it needs, makes the engines' user and its home, and starts nothing."""
        for name, package in zip(("old", "new"), self.packages):
            self.machine.put(package, f"/root/{name}.deb")
        self.machine.put(HERE / "driver", "/root/host")
        said = self.sh("apt-get install --yes /root/old.deb")
        check("E:" not in said and "rror" not in said, said)
        check(":/var/cache/mpswarden:" in self.sh("getent passwd mpswarden"), "its home is another")
        check(self.sh("stat --format '%U %a' /var/cache/mpswarden") == "mpswarden 750\n", "its home is not its own")
        check(self.sh("id --name --groups mpswarden").split() == ["mpswarden", "video", "render"], self.sh("id mpswarden"))
        check(self.sh("systemctl is-enabled mpswarden", ends=1) == "disabled\n", "it is enabled")
        check(self.sh("systemctl is-active mpswarden", ends=3) == "inactive\n", "it was started")

    def unit_is_sound(self):
        """systemd finds nothing to say about the unit, and no more exposure than its comments explain."""
        check(self.sh("systemd-analyze verify mpswarden.service") == "", "verify has something to say")
        self.sh(f"systemd-analyze security --threshold={EXPOSURE} --no-pager mpswarden.service")

    def waits_for_a_driver(self):
        """Without a driver it says what is missing, in one line, and comes up by itself once it is there."""
        since = self.now()
        self.sh("systemctl start mpswarden", ends=1)
        told = [line for line in self.journal(since) if line.startswith("cannot load the NVML library")]
        check(len(told) >= 1 and "install the NVIDIA driver" in told[0], f"it says {self.journal(since)}")
        self.sh("sh /root/host/prepare")
        self.machine.until("it is up", "systemctl is-active mpswarden", lambda said: said == "active\n")
        self.serves()

    def starts_as_shipped(self):
        """With the shipped configuration, untouched, all engines serve: as their user, with their caches in its home."""
        self.sh("systemctl stop mpswarden")
        since = self.now()
        self.sh("systemctl start mpswarden")
        group = self.serves()
        check(group["mode"] == "observe", f"its mode is {group['mode']}")
        for engine in group["engines"]:
            user = self.sh(f"ps --no-headers --format user:20 --pid {engine['main']['pid']}").strip()
            check(user == "mpswarden", f"{engine['name']} runs as {user}")
            check(engine["attached"], f"{engine['name']} runs outside MPS")
        check("Qwen/" in self.sh("cat /var/cache/mpswarden/huggingface/*"), "HF_HOME was not written")
        self.sh(f"mpswarden check --strict {CONFIGURATION}")
        for word in ("control_up", "server_up", "started in small-llms/qwen-a", "serving in small-llms/qwen-b"):
            check(any(word in line for line in self.journal(since)), f"the journal lacks {word}")

    def says_it_readably(self):
        """The journal has whole lines without colours or times of their own, and errors alone as errors."""
        lines = self.sh("journalctl --unit mpswarden --no-pager --output json _COMM=mpswarden").splitlines()
        for line in map(json.loads, lines):
            check(isinstance(line["MESSAGE"], str) and "\x1b" not in line["MESSAGE"], f"not plain: {line['MESSAGE']}")
            check(not re.match(r"<\d>|\d{4}-\d\d-\d\d", line["MESSAGE"]), f"a priority or a time is in it: {line['MESSAGE']}")
        errors = self.sh("journalctl --unit mpswarden --no-pager --output cat --priority err _COMM=mpswarden").splitlines()
        check(errors and all("NVML" in line for line in errors), f"errors beside those of the missing driver: {errors}")

    def serves_metrics(self):
        """Metrics, readiness and the page are there, on the loopback."""
        fetch = "exec 3<>/dev/tcp/127.0.0.1/10677; printf 'GET {} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        serving = 'mps_group_state{group="small-llms",state="serving"} 1'
        for path, word in (("/metrics", serving), ("/-/ready?group=small-llms", "200 OK"), ("/", "small-llms")):
            said = self.sh(f"bash -c \"{fetch.format(path)}\"".replace("$", "\\$"))
            check(word in said, f"{path} lacks {word}:\n{said[:2000]}")

    def reloads(self):
        """A changed file counts at once and ends nothing; a wrong one fails the reload, and changes nothing."""
        before = self.pids()
        self.configure('mode = "observe" ', 'mode = "enforce" ')
        self.sh("systemctl reload mpswarden")
        check(self.status()["mode"] == "enforce", "the status has the old mode once the reload has ended")
        self.configure("[web]\n", "[web]\nnonsense = 1\n")
        since = self.now()
        self.sh("systemctl reload mpswarden", ends=1)
        check(any("mpswarden.toml:" in line and "nonsense" in line for line in self.journal(since)), f"{self.journal(since)}")
        self.configure("nonsense = 1\n", "")
        check(self.status()["mode"] == "enforce" and self.pids() == before, "something ended or changed")

    def mends(self):
        """An engine that dies is started again; so are all, in order, once a server died."""
        group = self.status()
        self.sh(f"kill -KILL {group['engines'][0]['main']['pid']}")
        incarnation = group["engines"][0]["incarnation"]
        self.group_becomes("one with a new engine", lambda now: now["engines"][0]["incarnation"] > incarnation)
        self.serves()
        generation = self.status()["generation"]
        self.sh(f"kill -KILL {self.status()['server_pid']}")
        self.group_becomes("a new generation", lambda now: now["generation"] > generation)
        self.serves()

    def lets_others_wait(self):
        """An engine of another unit waits at the gate while the group is stopped, and is a client once it serves."""
        before = self.now()
        self.sh("mpswarden stop small-llms --wait")
        unit = "--unit other --property User=mpswarden --setenv CUDA_MPS_PIPE_DIRECTORY=/run/mpswarden/small-llms"
        unit += " --setenv HF_HOME=/var/cache/mpswarden/other"
        engine = "/opt/vllm/bin/vllm serve Qwen/Qwen2.5-0.5B-Instruct --port 8005"
        self.sh(f"systemd-run {unit} mpswarden gate small-llms/other -- {engine}")
        own = f"journalctl --unit other --no-pager --output cat --after-cursor '{before}'"
        self.machine.until("it waits", own, lambda said: "gate: waiting for daemon" in said)
        self.sh("mpswarden start small-llms --wait")
        self.group_becomes("one with three clients", lambda now: now["clients"] == 3)
        check("passes the gate of small-llms" in "\n".join(self.journal(before)), "the log does not say who passed")
        self.sh("systemctl stop other")
        self.serves()

    def survives_a_crash(self):
        """A watchdog that is killed comes back within seconds, with nothing left of what it ran, and all serve again."""
        before = self.pids()
        self.sh("systemctl kill --signal KILL --kill-who main mpswarden")
        self.another_runs(before[0])
        self.serves()
        check(not set(before) & set(self.pids()), "processes of the run before are there")

    def survives_a_hang(self):
        """A watchdog that stands still is restarted by systemd's watchdog."""
        before = self.pids()
        self.sh(f"kill -STOP {before[0]}")
        self.another_runs(before[0])
        self.serves()

    def upgrades(self):
        """An upgrade leaves all running and a changed configuration alone; the old watchdog still mends and obeys."""
        before, configured = self.pids(), self.sh(f"cat {CONFIGURATION}")
        said = self.sh("apt-get install --yes /root/new.deb")
        check("rror" not in said, said)
        check(self.pids() == before, "the upgrade ended something")
        check(self.sh(f"cat {CONFIGURATION}") == configured, "the upgrade changed the configuration")
        needed = self.sh("systemctl show --property NeedDaemonReload --value mpswarden")
        check(needed == "no\n", "systemd has the old unit")
        self.sh("systemctl reload mpswarden")
        self.mends()
        self.sh("systemctl restart mpswarden")
        self.serves()
        check("deleted" not in self.sh(f"readlink /proc/{self.pids()[0]}/exe"), "the old binary runs after a restart")

    def stops(self):
        """A stop ends the engines in the reverse order, then the daemon, and leaves nothing."""
        since = self.now()
        self.sh("systemctl stop mpswarden")
        check(not self.left(), f"left: {self.left()}")
        self.sh("test ! -e /run/mpswarden")
        ended = re.findall(r"exited in small-llms/(\S+):", "\n".join(self.journal(since)))
        check(ended == list(reversed(ENGINES)), f"they ended in this order: {ended}")
        result = self.sh("systemctl show --property Result --value mpswarden")
        check(result == "success\n", f"systemd says {result}")

    def comes_up_with_the_machine(self):
        """Enabled, it comes up with the machine and goes down with it in order."""
        self.sh("systemctl enable --now mpswarden")
        self.serves()
        since = self.now()
        self.machine.boot()
        self.machine.until("it answers", "mpswarden status --json", lambda said: said.startswith("{"))
        self.serves()
        said = "\n".join(self.journal(since))
        check("Deactivated successfully" in said and "Killing process" not in said, said)

    def is_removed(self):
        """A removal stops it in order and keeps the configuration; a new installation uses that again."""
        self.sh("apt-get remove --yes mpswarden")
        check(not self.left(), f"left: {self.left()}")
        check("enforce" in self.sh(f"cat {CONFIGURATION}"), "the configuration is gone")
        self.sh("! systemctl start mpswarden")
        self.sh("apt-get install --yes /root/new.deb")
        self.sh("systemctl start mpswarden")
        self.serves()

    def is_purged(self):
        """A purge takes the configuration and the units; logs, state and the models stay."""
        self.sh("apt-get purge --yes mpswarden")
        check(not self.left(), f"left: {self.left()}")
        self.sh(f"test ! -e {CONFIGURATION} && test ! -e /etc/mpswarden && test ! -e /run/mpswarden")
        self.sh("test -d /var/log/mpswarden && test -d /var/lib/mpswarden && test -d /var/cache/mpswarden/huggingface")
        check("mpswarden" not in self.sh("systemctl list-unit-files --no-pager"), "systemd still has units of it")
        check("mpswarden" not in self.sh("systemctl --failed --no-pager"), "a unit counts as failed")

    STEPS = (
        installs, unit_is_sound, waits_for_a_driver, starts_as_shipped, says_it_readably, serves_metrics, reloads, mends,
        lets_others_wait, survives_a_crash, survives_a_hang, upgrades, stops, comes_up_with_the_machine, is_removed, is_purged,
    )  # fmt: skip

    def last_words(self):
        journal = "journalctl --unit mpswarden --unit other --no-pager --lines 40"
        return self.sh(f"systemctl status --no-pager mpswarden; {journal}; mpswarden status", ends=None)


def play(played):
    """Plays all steps: 0, or 1 at the first that does not hold."""
    for step in played.STEPS:
        sentence = " ".join(step.__doc__.split())
        try:
            step(played)
        except (Failed, subprocess.TimeoutExpired, OSError, ValueError, KeyError, TypeError) as failure:
            print(f"FAILED  {sentence}\n{type(failure).__name__}: {failure}\n{played.last_words()}", flush=True)
            return 1
        print(f"ok      {sentence}", flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=pathlib.Path)
    parser.add_argument("newer", type=pathlib.Path)
    arguments = parser.parse_args()
    why = missing()
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        return SKIPPED
    with Podman() as podman, Machine(podman, f"mpswarden-systemd-{os.getpid()}") as machine:
        return play(Play(machine, arguments.package, arguments.newer))


if __name__ == "__main__":
    sys.exit(main())
