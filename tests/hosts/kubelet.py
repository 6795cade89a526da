"""A small stand-in for kubelet, over podman: the pod of a Deployment or a DaemonSet, its containers started in order, probed,
and started again after a back-off. podman 4.3 knows neither native sidecars nor restart rules, so that all containers are
alike to it, and none is started by it (`for_podman`)."""

import copy
import json
import math
import pathlib
import subprocess
import time

from machine import Failed

# Back-off of a container, as kubelet's: so long at first, then twice as long, up to the most; in seconds.
FIRST, FACTOR, MOST = 10, 2, 300
# What all containers have on a node whose toolkit brings the driver; here a volume, and the GPU is simulated.
DRIVER = {"name": "driver", "mountPath": "/opt/driver"}
NODE = "node-1"


def is_sidecar(container):
    return container.get("restartPolicy") == "Always"


def for_podman(workload, name, driver, hardware=()):
    """The pod of a workload as podman can have it. `driver`: its volume. `hardware`: containers that play the node's."""
    spec = copy.deepcopy(workload["spec"]["template"]["spec"])
    containers = copy.deepcopy(list(hardware)) + spec.pop("initContainers", []) + spec["containers"]
    for container in containers:
        # Of these kubelet's stand-in takes care, or nobody can here: claims and limits of a cluster.
        for key in ("restartPolicy", "restartPolicyRules", "startupProbe", "livenessProbe", "readinessProbe", "resources", "ports"):
            container.pop(key, None)
        container.setdefault("volumeMounts", []).append(DRIVER)
        for mount in container["volumeMounts"]:
            for key in ("subPath", "mountPropagation"):
                mount.pop(key, None)
        for variable in container.get("env", []):
            if variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") == "spec.nodeName":
                variable.pop("valueFrom")
                variable["value"] = NODE
    spec["containers"] = containers
    # Started by the stand-in alone.
    spec["restartPolicy"] = "Never"
    spec["volumes"] = [*spec.get("volumes", []), {"name": DRIVER["name"], **driver}]
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            volume["emptyDir"] = {}
    for key in ("resourceClaims", "tolerations", "affinity", "nodeSelector", "runtimeClassName", "priorityClassName"):
        spec.pop(key, None)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


class Backoff:
    """When a container that ended is started again."""

    def __init__(self):
        self.ends, self.due = 0, math.inf

    def ended(self, now):
        if self.due == math.inf:
            self.due = now + min(FIRST * FACTOR**self.ends, MOST)
            self.ends += 1

    def started(self):
        self.due = math.inf


class Container:
    """One of a pod's, by its manifest."""

    def __init__(self, manifest, pod):
        self.manifest, self.name, self.full_name = manifest, manifest["name"], f"{pod}-{manifest['name']}"
        self.backoff, self.ready, self.probed, self.starts = Backoff(), False, 0.0, 0

    def restarts_all(self, code):
        """Whether its end with this status restarts the whole pod."""
        rules = self.manifest.get("restartPolicyRules", [])
        mine = [rule for rule in rules if rule["action"] == "RestartAllContainers"]
        return any(rule["exitCodes"]["operator"] == "In" and code in rule["exitCodes"]["values"] for rule in mine)


class Pod:
    """A pod that runs. Whoever waits for something lets it go on by `step`."""

    def __init__(self, podman, workload, name, directory, driver, hardware=(), options=()):
        self.podman, self.name = podman, name
        spec = workload["spec"]["template"]["spec"]
        of = lambda manifests: [Container(one, name) for one in manifests]  # noqa: E731
        self.hardware = of(hardware)
        self.inits, self.mains = of(spec.get("initContainers", [])), of(spec["containers"])
        self.restarts_of_all, self.told = 0, []
        file = pathlib.Path(directory) / f"{name}.json"
        file.write_text(json.dumps(for_podman(workload, name, driver, hardware)))
        podman.run("kube", "play", "--start=false", *options, str(file))

    @property
    def running(self):
        """Those that are to run all the time."""
        return [one for one in self.inits if is_sidecar(one.manifest)] + self.mains

    def container(self, name):
        return next(one for one in self.inits + self.mains if one.name == name)

    def say(self, what):
        self.told.append(what)
        print(f"    kubelet: {what}", flush=True)

    # What kubelet does.

    def switch_on(self):
        """The node's own, which no restart of the pod ends."""
        for one in self.hardware:
            self.begin(one)
            self.podman.until(f"{one.name} is there", lambda one=one: self.has_started(one), self.last_words)

    def start(self):
        """In order: each init container to its end, each sidecar until it has started, then all others at once."""
        for one in self.inits:
            self.begin(one)
            if is_sidecar(one.manifest):
                self.podman.until(f"{one.name} has started", lambda one=one: self.has_started(one), self.last_words)
            else:
                self.podman.until(f"{one.name} has ended", lambda one=one: self.state(one)[0] == "exited", self.last_words)
                if self.state(one)[1] != 0:
                    raise Failed(f"{one.name} ended with {self.state(one)[1]}\n{self.last_words()}")
        for one in self.mains:
            self.begin(one)

    def step(self):
        """Looks at each container once: probes it, starts it again, or restarts all."""
        now = time.monotonic()
        for one in self.running:
            status, code = self.state(one)
            if status == "running":
                self.probe(one, now)
                continue
            one.ready = False
            if one.restarts_all(code):
                return self.restart_all(one, code)
            one.backoff.ended(now)
            if one.backoff.due <= now:
                self.say(f"{one.name} ended with {code} and is started again")
                self.begin(one)

    def restart_all(self, cause, code):
        """RestartAllContainers: all are killed, without order or grace, and started as at first."""
        self.say(f"{cause.name} ended with {code}: all containers are started again")
        self.restarts_of_all += 1
        names = [one.full_name for one in self.running if self.state(one)[0] == "running"]
        if names:
            self.podman.run("kill", "--signal", "KILL", *names, ends=None)
        gone = lambda: all(self.state(one)[0] != "running" for one in self.running)  # noqa: E731
        self.podman.until("all containers are gone", gone)
        for one in self.running:
            one.ready = False
        self.start()

    def begin(self, one):
        one.backoff.started()
        one.starts += 1
        self.podman.run("start", one.full_name)

    def state(self, one):
        said = self.podman.run("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", one.full_name)
        status, code = said.split()
        return ("exited" if status in ("exited", "stopped") else status), int(code)

    def probe(self, one, now):
        probe = one.manifest.get("readinessProbe")
        if not probe:
            one.ready = True
        elif now - one.probed >= probe.get("periodSeconds", 10):
            one.probed = now
            is_ready = self.holds(one, probe)
            if is_ready != one.ready:
                self.say(f"{one.name} is {'ready' if is_ready else 'not ready'}")
            one.ready = is_ready

    def has_started(self, one):
        probe = one.manifest.get("startupProbe")
        return self.state(one)[0] == "running" and (not probe or self.holds(one, probe))

    def holds(self, one, probe):
        if "exec" in probe:
            return self.execute(one, *probe["exec"]["command"]) is not None
        get = probe["httpGet"]
        ports = {port.get("name"): port["containerPort"] for port in one.manifest.get("ports", [])}
        return self.get(one, ports.get(get["port"], get["port"]), get["path"]).startswith("HTTP/1.1 200")

    # What a play asks of it.

    def execute(self, one, *command):
        """What it prints; None: it ends with another status than 0."""
        ended = subprocess.run(
            ["podman", "exec", one.full_name, *command], env=self.podman.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        return ended.stdout if ended.returncode == 0 else None

    def get(self, one, port, path, method="GET", body=""):
        """An answer over HTTP, asked for within the pod's network."""
        request = f"{method} {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
        script = f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{request}' >&3 && printf '%s' '{body}' >&3 && cat <&3"
        return self.execute(one, "bash", "-c", script) or ""

    def until(self, what, holds):
        """Goes on until it is so."""

        def stepped():
            self.step()
            return holds()

        self.podman.until(what, stepped, self.last_words)

    def is_ready(self):
        return all(one.ready for one in self.running)

    def logs(self, name):
        return self.podman.run("logs", self.container(name).full_name, ends=None)

    def last_words(self):
        tails = [f"--- {one.name}: {self.state(one)}\n" + "\n".join(self.logs(one.name).splitlines()[-12:]) for one in self.inits + self.mains]
        return "\n".join(tails)

    def end(self):
        self.podman.run("pod", "rm", "--force", "--time", "2", self.name, ends=None)
