"""On a real board of the user's inventory: `make hil DEVICE=pi4`. Needs `edgeopt device setup` to have run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests import models
from tests.e2e.conftest import write_samples

pytestmark = pytest.mark.hil


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    name = request.config.getoption("--device")
    if not name:
        pytest.skip("no board named (--device NAME)")
    return str(name)


def edgeopt(folder: Path, *args: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgeopt.cli.main", *args, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_board_is_ready(device: str, tmp_path: Path) -> None:
    """Doctor finds nothing that a deploy would fail on."""
    states = {f["subject"]: f["state"] for f in edgeopt(tmp_path, "doctor", "--device", device)["findings"]}

    assert "fail" not in states.values()


def test_two_deploys_and_a_rollback(device: str, tmp_path: Path) -> None:
    """The loop, on hardware, under an app name of its own."""
    onnx.save(models.classifier(), tmp_path / "model.onnx")
    write_samples(tmp_path / "samples")
    deploy = (
        "deploy",
        "model.onnx",
        "--samples",
        "samples",
        "--device",
        device,
        "--app",
        "edgeopt-hil",
        "--min-agreement",
        "0.5",
        "--accept-disturbed",
    )

    first = edgeopt(tmp_path, *deploy, "--recipes", "original")
    second = edgeopt(tmp_path, *deploy, "--recipes", "original,clean")
    back = edgeopt(tmp_path, "rollback", "--device", device, "--app", "edgeopt-hil")

    assert second["release"]["previous"] == first["release"]["digest"]
    assert back["release"]["digest"] == first["release"]["digest"]
