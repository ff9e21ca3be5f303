"""A user's computer with an ARM guest in its inventory, and the loop on it as the README tells it, once for all tests."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from jsonschema import validate

from tests import models
from tests.e2e.conftest import AS_AN_APPLICATION, QUICK, Computer, schema_of, write_samples
from tests.hil.arm_guest import Guest

APP = "app"
# One thread: those of a runtime that wait for each other in loops cost most where each core is emulated.
DEPLOY = (
    "deploy",
    "model.onnx",
    "--samples",
    "samples",
    "--device",
    "arm",
    "--min-agreement",
    "0.5",
    *QUICK,
    "--threads",
    "1",
)

APPLICATION = f"""{AS_AN_APPLICATION}
import json
from edgeopt_agent import load
model = load(sys.argv[1])
import numpy as np
outputs = model(np.array(json.load(sys.stdin), "float32"))
print(json.dumps([model.manifest["variant"], outputs[0].tolist()]))
"""


@dataclass(kw_only=True)
class Arm(Computer):
    """A computer with a guest `arm` in its inventory. `home` holds edgeopt's files."""

    guest: Guest

    def set_up(self, *runtimes: str) -> Any:
        """`device setup` of runtimes, as an object; skips the test when the package index is out of reach."""
        return self.brought("arm", *runtimes, timeout_s=900)

    def deploy(self, *options: str, app: str = APP) -> Any:
        """A quick deploy, as an object."""
        done = self.run(*DEPLOY, "--app", app, *options, "--json", timeout_s=900)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        validate(document, schema_of(("deploy",)))
        return document

    def findings(self) -> dict[str, dict[str, Any]]:
        """What `doctor` finds, by subject, whether it is content or not."""
        done = self.run("doctor", "--device", "arm", "--json")
        document = json.loads(done.stdout)
        validate(document, schema_of(("doctor",)))
        return {finding["subject"]: finding for finding in document["findings"]}

    def application(self, app: str = APP) -> tuple[str, np.ndarray, np.ndarray]:
        """Run the application on the guest; returns the variant, its answer, and what the original answers here."""
        feed = np.load(self.project / "samples" / "000.npy")[None]
        done = self.guest.user(f"python3 -c {shlex.quote(APPLICATION)} {app}", stdin=json.dumps(feed.tolist()))
        assert done.returncode == 0, done.stderr
        variant, answer = json.loads(done.stdout)
        session = onnxruntime.InferenceSession(self.project / "model.onnx", providers=["CPUExecutionProvider"])
        return variant, np.array(answer, "float32"), session.run(None, {session.get_inputs()[0].name: feed})[0]


@dataclass(kw_only=True)
class Bare:
    """A guest that is trusted and has nothing of ours, and what `doctor` finds on it."""

    arm: Arm
    findings: dict[str, dict[str, Any]]


@dataclass(kw_only=True)
class Deployed:
    """What was said on the way from a bare guest to one with two releases."""

    arm: Arm
    setup: Any
    first: Any
    second: Any

    @property
    def releases(self) -> tuple[str, str]:
        """The digests of the two releases, in the order of their deploys."""
        return self.first["release"]["digest"], self.second["release"]["digest"]


def make_arm(folder: Path, guest: Guest, profile: str = "generic-aarch64") -> Arm:
    """Put a guest into the inventory of a computer with a small classifier and 12 samples; it is neither trusted nor set up."""
    project = folder / "project"
    project.mkdir(parents=True)
    onnx.save(models.classifier(), project / "model.onnx")
    write_samples(project / "samples", count=12)
    arm = Arm(home=folder / "edgeopt", project=project, board_root=Path(), guest=guest)
    given = ("--profile", profile, "--address", guest.address, "--identity", str(guest.identity))
    arm.ok("device", "add", "arm", *given)
    return arm


def look_at(arm: Arm) -> Bare:
    """Trust a guest and look at it."""
    arm.ok("device", "trust", "arm", "--yes")
    return Bare(arm=arm, findings=arm.findings())


def run_loop(arm: Arm) -> Deployed:
    """Set a bare guest up and deploy two releases."""
    setup = arm.set_up("onnxruntime")
    first = arm.deploy("--recipes", "original,int8-static", "--objective", "size")
    second = arm.deploy("--recipes", "original")
    return Deployed(arm=arm, setup=setup, first=first, second=second)
