"""A Debian with a real systemd as PID 1, in a container, and what is asked of it."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

IMAGE = "localhost/mpswarden-systemd:bookworm"
PROGRAMS = {"podman": "podman", "runc": "runc", "conmon": "conmon", "debootstrap": "debootstrap"}
PACKAGES = "systemd,systemd-sysv,dbus,procps"
LOCK = pathlib.Path(tempfile.gettempdir()) / "mpswarden-image.lock"
MIRROR = "http://deb.debian.org/debian"
# crun refuses hybrid cgroups, and a runtime in a container may not raise limits.
CONTAINERS = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
{settings}
[engine]
runtime = "runc"
"""
# For a command inside, for an image to be made, and for what is waited for, in seconds.
COMMAND, IMAGE_MADE, PATIENCE = 180, 900, 60


class Failed(Exception):
    """What should be so is not."""


def missing():
    """Why no such machine can be had here; None: it can."""
    if os.geteuid() != 0:
        return "a container with systemd as PID 1 needs root"
    lacking = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if lacking:
        return f"apt-get install --no-install-recommends {' '.join(lacking)} catatonit netavark aardvark-dns"
    return None


class Podman:
    """podman, as it works on a machine like a development container too."""

    def __init__(self, settings=""):
        """`settings`: further lines on containers."""
        self.directory = tempfile.TemporaryDirectory(prefix="mw-podman-")
        configuration = pathlib.Path(self.directory.name) / "containers.conf"
        configuration.write_text(CONTAINERS.format(settings=settings))
        self.environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def run(self, *arguments, ends=0):
        """What it says; it must end with this status, None: with any."""
        ended = subprocess.run(
            ["podman", *arguments], env=self.environment, stdin=subprocess.DEVNULL, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND,
        )  # fmt: skip
        if ends is not None and ended.returncode != ends:
            raise Failed(f"podman {' '.join(arguments)} ended with {ended.returncode}, not with {ends}:\n{ended.stdout}")
        return ended.stdout

    def has_image(self):
        """A minimal Debian with systemd, made once, by the first of several plays: no registry is needed, a mirror is."""
        with open(LOCK, "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.make_image()

    def make_image(self):
        if IMAGE in self.run("images", "--format", "{{.Repository}}:{{.Tag}}").split():
            return
        print("making the image, which takes a minute or two", flush=True)
        mirror = os.environ.get("DEBIAN_MIRROR", MIRROR)
        root, log = (pathlib.Path(self.directory.name) / name for name in ("root", "debootstrap.log"))
        with open(log, "wb") as output:
            made = subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root, mirror],
                check=False, stdout=output, stderr=output, timeout=IMAGE_MADE,
            )  # fmt: skip
        if made.returncode:
            raise Failed(f"debootstrap ended with {made.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            take = ["podman", "import", "-", IMAGE]
            subprocess.run(take, env=self.environment, stdin=tar.stdout, check=True, capture_output=True)
        shutil.rmtree(root)

    @staticmethod
    def until(what, holds, last_words=lambda: ""):
        """Asks until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"waited {PATIENCE} s in vain until {what}\n{last_words()}")
            time.sleep(0.2)


class Machine:
    """A container with systemd as PID 1. It ends with the `with` that it is made by."""

    def __init__(self, podman, name, options=()):
        """`options`: further ones of `podman run`."""
        self.podman, self.name, self.options = podman, name, options

    def __enter__(self):
        self.podman.has_image()
        # podman puts the journal in memory, where no volume is: it would not outlive a boot.
        options = ["--systemd=always", "--privileged", "--network=none", "--volume", "/var/log/journal"]
        self.podman.run("run", "--detach", "--name", self.name, *options, *self.options, IMAGE, "/lib/systemd/systemd")
        self.is_up()
        return self

    def __exit__(self, *_):
        self.podman.run("rm", "--force", "--volumes", "--time", "5", self.name, ends=None)

    def is_up(self):
        self.until("systemd is up", "systemctl is-system-running", lambda said: said.strip() in ("running", "degraded"))

    def boot(self):
        """Switches it off in order, and on again."""
        self.podman.run("stop", "--time", "60", self.name)
        self.podman.run("start", self.name)
        self.is_up()

    def put(self, path, to):
        self.podman.run("cp", str(path), f"{self.name}:{to}")

    def sh(self, script, ends=0):
        """What the script says; it must end with this status, None: with any."""
        return self.podman.run("exec", self.name, "sh", "-c", script, ends=ends)

    def until(self, what, script, holds):
        """Asks until the answer is as it should be."""
        self.podman.until(what, lambda: holds(self.sh(script, ends=None)), lambda: f"{script}: {self.sh(script, ends=None)}")
