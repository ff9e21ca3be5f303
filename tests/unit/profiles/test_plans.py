"""Every profile has a plan for every model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeopt.compiler.inspecting import inspect_task
from edgeopt.compiler.plan import TOOLS, Planned, plan_variants
from edgeopt.domain.device import Device
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Skipped
from edgeopt.flows.phone import with_programs
from edgeopt.profiles.load import list_profiles
from tests import models

PROFILES = list_profiles()
REPOSITORY = Path(__file__).resolve().parents[3]
INSTALLED = {key: "1.0" for key, _ in TOOLS.values()}
OWN = {"convolutions": models.conv_net, "matrices": models.dense_net, "a classifier": models.classifier}


def inspected(path: Path, folder: Path) -> ModelInfo:
    """Look at a model of ours, or one that was looked at before, without the child that others' models need."""
    limits: dict[str, Any] = {}
    return msgspec.convert(inspect_task({"path": str(path)}, folder, limits)["model"], ModelInfo)


def check_plans(model: ModelInfo) -> None:
    """Each profile builds something of the model, and says why not where it does not."""
    for kind in PROFILES:
        profile = with_programs(kind, Device(name="board", profile=kind.name, address="local:"))
        for has_samples in (True, False):
            plan = plan_variants(model, profile, has_samples=has_samples, installed=INSTALLED)
            assert isinstance(plan[0], Planned), profile.name
            assert plan[0].name == "original"
            assert {planned.name for planned in plan} >= set(profile.recipes), profile.name
            built = [planned for planned in plan[1:] if isinstance(planned, Planned)]
            assert built or model.not_rebuilt, f"{profile.name} has nothing for {model.name} but the original"
            for skipped in (planned for planned in plan if isinstance(planned, Skipped)):
                assert len(skipped.reason.split()) > 3, f"{profile.name}: {skipped.reason}"


@pytest.mark.parametrize("name", OWN)
def test_every_profile_plans_for_our_networks(tmp_path: Path, name: str) -> None:
    check_plans(inspected(models.save(OWN[name](), tmp_path / "model.onnx"), tmp_path))


def test_every_profile_plans_for_the_example(tmp_path: Path) -> None:
    check_plans(inspected(REPOSITORY / "examples" / "parts" / "model.onnx", tmp_path))


def test_every_profile_plans_for_real_networks(shared_testdata: Path, tmp_path: Path) -> None:
    paths = sorted(path for path in (shared_testdata / "models").glob("*/*") if path.suffix in {".onnx", ".tflite"})
    assert len(paths) > 20
    for path in paths:
        check_plans(inspected(path, tmp_path))
