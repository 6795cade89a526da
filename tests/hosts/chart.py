"""Objects of the Helm chart, and an image in which its pods find a simulated GPU."""

import json
import pathlib
import subprocess

from container import LINKS, VLLM
from machine import IMAGE

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "mpswarden"
DRIVER = "/opt/driver"
BOUND = 60


class Chart:
    """Helm and kubectl, as .ci/kubernetes-tools brings them. `missing`: why they are not there."""

    def __init__(self):
        found = subprocess.run([ROOT / ".ci" / "kubernetes-tools", "--where"], stdout=subprocess.PIPE, text=True, check=False)
        self.missing = None if found.returncode == 0 else "helm and kubectl are missing: run .ci/kubernetes-tools"
        self.tools = pathlib.Path(found.stdout.strip())

    def objects(self, release, values):
        """What the chart makes of these values: objects by kind."""
        template = [self.tools / "helm", "template", release, CHART, "--namespace", "mps", "--values", "-"]
        made = subprocess.run(template, input=json.dumps(values), stdout=subprocess.PIPE, text=True, check=True, timeout=BOUND)
        # YAML to JSON: a change of nothing, on this machine alone.
        patch = [self.tools / "kubectl", "patch", "--local", "--type", "merge", "--patch", "{}", "--output", "json", "-f", "-"]
        by_kind = {}
        for document in made.stdout.split("\n---\n"):
            if "\nkind: " in document:
                told = subprocess.run(patch, input=document, stdout=subprocess.PIPE, text=True, check=True, timeout=BOUND)
                one = json.loads(told.stdout)
                by_kind[one["kind"]] = one
        return by_kind


def has_image(podman, program, directory, image):
    """An image with mpswarden, a driver's library and binary that lead to the simulated ones, and an engine."""
    made = image.rpartition("/")[2].replace(":", "-")
    podman.has_image()
    podman.run("run", "--name", made, "--network=none", IMAGE, "sh", "-c", LINKS)
    try:
        podman.run("cp", str(program), f"{made}:/usr/bin/mpswarden")
        engine = directory / "vllm"
        engine.write_text(VLLM)
        engine.chmod(0o755)
        podman.run("cp", str(engine), f"{made}:/usr/local/bin/vllm")
        changes = ('ENTRYPOINT ["/usr/bin/mpswarden"]', "CMD []", f"ENV MPSWARDEN_SIM_GPU={DRIVER}/gpu.socket")
        podman.run("commit", *(word for change in changes for word in ("--change", change)), made, image)
    finally:
        podman.run("rm", "--force", made, ends=None)
