"""The stand-in for kubelet does what kubelet does, over a podman of words.

    python3 tests/hosts/kubelet_test.py
"""

import json
import pathlib
import tempfile
import unittest
from unittest import mock

import kubelet
from kubelet import FIRST, MOST, Backoff, Pod, for_podman

WORKLOAD = {
    "spec": {"template": {"spec": {
        "shareProcessNamespace": True,
        "initContainers": [
            {"name": "gate", "image": "i", "args": ["gate", "--install", "/gate/mpswarden-gate"]},
            {"name": "mps", "image": "i", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["test", "-S", "x"]}}},
            {
                "name": "mpswarden", "image": "i", "restartPolicy": "Always",
                "restartPolicyRules": [
                    {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}
                ],
                "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            },
        ],
        "containers": [
            {
                "name": "qwen-a", "image": "e", "command": ["/gate/mpswarden-gate", "--", "vllm"],
                "readinessProbe": {"exec": {"command": ["/gate/mpswarden-gate", "--ready"]}, "periodSeconds": 2},
                "volumeMounts": [{"name": "gate", "mountPath": "/gate", "readOnly": True}],
            },
            {"name": "qwen-b", "image": "e", "command": ["/gate/mpswarden-gate", "--", "vllm"]},
        ],
        "volumes": [{"name": "gate", "emptyDir": {"medium": "Memory"}}, {"name": "mps", "hostPath": {"path": "/run/x"}}],
    }}}
}  # fmt: skip


class Podman:
    """Containers as words: each runs once it was started, until the test ends it."""

    def __init__(self):
        self.calls, self.states, self.environment = [], {}, {}

    def run(self, *arguments, ends=0):
        del ends
        verb, last = arguments[0], arguments[-1]
        if verb == "start":
            self.calls.append(last)
            # The init container has done its work at once.
            self.states[last] = ("exited", 0) if last.endswith("-gate") else ("running", 0)
        elif verb == "kill":
            for name in arguments[3:]:
                self.states[name] = ("exited", 137)
        elif verb == "inspect":
            status, code = self.states.get(last, ("created", 0))
            return f"{status} {code}\n"
        return ""

    @staticmethod
    def until(what, holds, last_words=lambda: ""):
        if not holds():
            raise AssertionError(what)


class Kubelet(unittest.TestCase):
    def setUp(self):
        self.podman, self.now = Podman(), 1000.0
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.pod = Pod(self.podman, WORKLOAD, "p", self.directory.name, {"emptyDir": {}})
        for patch in (
            mock.patch.object(kubelet.time, "monotonic", lambda: self.now),
            mock.patch.object(Pod, "execute", lambda pod, one, *command: "" if self.holds(one, command) else None),
            mock.patch.object(Pod, "say", lambda pod, what: None),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.holds = lambda one, command: True

    def ends(self, name, code):
        self.podman.states[f"p-{name}"] = ("exited", code)

    def test_containers_start_in_order_the_sidecars_one_after_the_other(self):
        self.pod.start()
        self.assertEqual(self.podman.calls, ["p-gate", "p-mps", "p-mpswarden", "p-qwen-a", "p-qwen-b"])

    def test_the_next_one_waits_for_a_sidecars_startup_probe(self):
        self.holds = lambda one, command: False
        with self.assertRaisesRegex(AssertionError, "mps has started"):
            self.pod.start()
        self.assertEqual(self.podman.calls, ["p-gate", "p-mps"])

    def test_one_that_ended_is_started_again_alone_after_its_back_off(self):
        self.pod.start()
        self.podman.calls.clear()
        self.ends("qwen-a", 0)
        self.pod.step()
        self.now += FIRST - 1
        self.pod.step()
        self.assertEqual(self.podman.calls, [])
        self.now += 1
        self.pod.step()
        self.assertEqual(self.podman.calls, ["p-qwen-a"])

    def test_the_back_off_doubles_up_to_its_most(self):
        backoff, waits = Backoff(), []
        for _ in range(7):
            backoff.ended(0)
            waits.append(backoff.due)
            backoff.started()
        self.assertEqual(waits, [10, 20, 40, 80, 160, 300, MOST])

    def test_an_end_by_a_rule_of_the_pod_restarts_all_and_any_other_end_does_not(self):
        self.pod.start()
        self.podman.calls.clear()
        self.ends("mpswarden", 88)
        self.pod.step()
        self.assertEqual(self.podman.calls, ["p-gate", "p-mps", "p-mpswarden", "p-qwen-a", "p-qwen-b"])
        self.podman.calls.clear()
        self.ends("mpswarden", 1)
        self.pod.step()
        self.assertEqual((self.podman.calls, self.pod.restarts_of_all), ([], 1))

    def test_readiness_is_asked_for_each_period(self):
        self.pod.start()
        asked = []
        self.holds = lambda one, command: asked.append(one.name) is None
        for _ in range(3):
            self.pod.step()
            self.now += 1
        self.assertEqual(asked, ["qwen-a", "qwen-a"])
        self.assertTrue(self.pod.is_ready())

    def test_what_podman_gets_is_the_same_pod_but_for_what_it_does_not_know(self):
        made = for_podman(WORKLOAD, "p", {"emptyDir": {}})["spec"]
        self.assertEqual([one["name"] for one in made["containers"]], ["gate", "mps", "mpswarden", "qwen-a", "qwen-b"])
        spec = WORKLOAD["spec"]["template"]["spec"]
        for one, other in zip(made["containers"], spec["initContainers"] + spec["containers"]):
            for key in ("image", "command", "args"):
                self.assertEqual(one.get(key), other.get(key))
            self.assertNotIn("restartPolicy", one)
            self.assertIn(kubelet.DRIVER, one["volumeMounts"])
        self.assertEqual(made["containers"][2]["env"], [{"name": "NODE_NAME", "value": kubelet.NODE}])
        self.assertEqual(made["containers"][3]["volumeMounts"][0]["mountPath"], "/gate")
        self.assertTrue(made["shareProcessNamespace"])
        self.assertEqual(made["restartPolicy"], "Never")
        self.assertEqual(made["volumes"][1], {"name": "mps", "hostPath": {"path": "/run/x"}})
        self.assertEqual(json.loads((pathlib.Path(self.directory.name) / "p.json").read_text())["kind"], "Pod")


if __name__ == "__main__":
    unittest.main()
