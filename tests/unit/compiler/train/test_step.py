"""Training in the confined child, as builds do it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest

pytest.importorskip("torch")

from edgeopt.compiler import gpu
from edgeopt.compiler.build import build_variants
from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined, stop_group
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import Planned, plan_variants
from edgeopt.domain.device import Profile
from edgeopt.domain.variant import Built
from tests import models
from tests.unit.compiler.prune.nets import residual
from tests.unit.compiler.train.networks import damaged, pictures, small_net

LIMITS = Limits(timeout_s=120)
RECOVER = {
    "name": "recover",
    "options": {
        "budget": "standard",
        "trainable": "all",
        "objectives": [],
        "task": "classification",
        "seed": 0,
        "steps": 100,
        "at_least": 13,
    },
}


def request(folder: Path) -> dict[str, Any]:
    """A build that begins with a damaged network behind the steps before, and trains it."""
    for name in ("begin", "out"):
        (folder / name).mkdir(parents=True)
    onnx.save(small_net(), folder / "model.onnx")
    onnx.save(damaged(small_net()), folder / "begin" / "model.onnx")
    samples = pictures(30, folder)
    return {
        "source": str(folder / "model.onnx"),
        "files": [],
        "begin": {"folder": str(folder / "begin"), "notes": []},
        "steps": [RECOVER],
        "samples": {"path": str(samples.path), "names": list(samples.names), "count": samples.count},
        "pins": {"max_opset": 17, "max_ir_version": 8},
        "out": str(folder / "out"),
        "training": str(folder / "training"),
    }


def test_a_child_that_was_killed_while_it_trained_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Killed by its group, as a build that is stopped, as soon as there is a checkpoint."""
    whole, killed = (request(tmp_path / name) for name in ("whole", "killed"))
    run_confined("build", whole, limits=LIMITS, workdir=tmp_path / "whole")
    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(run_confined, "build", killed, limits=LIMITS, workdir=tmp_path / "killed", group="doomed")
        while not list((tmp_path / "killed" / "training").glob("*/run.npz")) and not child.done():
            time.sleep(0.01)
        stop_group("doomed")
        with pytest.raises(ConfinedFailure, match="it was stopped"):
            child.result()

    answer = run_confined("build", killed, limits=LIMITS, workdir=tmp_path / "killed")

    assert "trained: 100 steps on 23 samples without labels, on the CPU" in answer["notes"][-1]
    made = [(tmp_path / name / "out" / "model.onnx").read_bytes() for name in ("whole", "killed")]
    assert made[0] == made[1]


def test_only_a_child_that_trains_beside_a_gpu_gets_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver maps more than it uses; without one nothing changes."""
    usual, control = Limits(), tmp_path / "control"
    monkeypatch.setattr(gpu, "CONTROL", control)
    monkeypatch.delenv(gpu.VARIABLE, raising=False)
    assert gpu.limits_for(usual, ["clean", "recover"]) == usual

    control.touch()
    assert gpu.limits_for(usual, ["clean", "calibrate"]) == usual
    assert gpu.limits_for(usual, ["clean", "recover"]).memory_bytes == usual.memory_bytes + gpu.ROOM_BYTES

    monkeypatch.setenv(gpu.VARIABLE, "cpu")
    assert gpu.limits_for(usual, ["recover"]) == usual


@pytest.fixture
def spare_net(tmp_path: Path) -> Path:
    """A network with twice the channels that it needs, saved."""
    path = tmp_path / "net.onnx"
    onnx.save(residual(blocks=1, width=32), path)
    return path


def test_a_pruned_network_is_trained_and_its_training_is_shared(spare_net: Path, tmp_path: Path) -> None:
    """Pruned, trained, and the int8 of it made from what was trained; curves beside."""
    model = inspect_model(spare_net)
    profile = Profile(name="board", title="A board", arch="x86_64", recipes=("int8-static",))
    planned = plan_variants(
        model, profile, recipes=("pruned-10", "pruned-10-int8"), has_samples=True, installed={"torch": "2"}
    )
    planned = [quick(plan) for plan in planned]
    samples = models.noise("x", 1, 3, 6, 6, count=40)

    made = build_variants(
        planned, model_path=spare_net, model=model, calibration=samples, cache=tmp_path / "cache", curves=tmp_path / "c"
    )

    trained = [[note for note in v.notes if "train" in note] if isinstance(v, Built) else v.reason for v in made[1:]]
    assert trained[0] == trained[1]
    assert "20 steps on 30 samples without labels" in trained[0][0]
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["pruned-10"]
    assert len(list((tmp_path / "cache" / "training").glob("*/run.npz"))) == 1


def quick(plan: Any) -> Any:
    """With blocks of two channels, and twenty steps."""
    more = {"recover": {"steps": 20}, "prune": {"block": 2, "budget": "instant"}}
    if not isinstance(plan, Planned):
        return plan
    steps = tuple(
        msgspec.structs.replace(step, options=step.options | more.get(step.name, {})) for step in plan.recipe.steps
    )
    return msgspec.structs.replace(plan, recipe=msgspec.structs.replace(plan.recipe, steps=steps))
