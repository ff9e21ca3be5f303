"""A student that the user names: it must fit the model, learns from it, and is built like any other variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import Planned, plan_variants
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.student import differs
from edgeopt.compiler.taught import read_student as read_graph
from edgeopt.domain.device import Profile
from edgeopt.domain.model import StudentModel, TensorSpec
from edgeopt.domain.observer import Silent
from edgeopt.domain.variant import Built, Skipped
from edgeopt.errors import ModelError
from edgeopt.flows.source import read_student
from tests import models
from tests.builders import make_model
from tests.unit.compiler.train.networks import small_net

BOARD = Profile(name="board", title="A board", arch="x86_64", recipes=("clean", "int8-static"))
GIVEN = StudentModel(path="/student.onnx", digest="d", name="small")


def spec(name: str, *shape: Any, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "tflite"}, "tflite file"),
        ({"inputs": (spec("z", 1, 3, 8, 8),)}, "it takes z, the model takes x"),
        ({"outputs": (spec("y", 1, 10), spec("w", 1))}, "2 outputs, the model 1"),
        ({"outputs": (spec("scores", 1, 9),)}, "scores is float32 [1, 9]"),
        ({"inputs": (spec("x", "N", 3, 8, 8, dtype="float16"),)}, "float16"),
        ({"inputs": (spec("x", "N", 3, 8),)}, "[N, 3, 8]"),
    ],
)
def test_another_signature_is_told(changes: dict[str, Any], words: str) -> None:
    assert words in str(differs(make_model(), make_model(**changes)))


def test_open_axes_and_unknown_shapes_fit() -> None:
    loose = make_model(inputs=(TensorSpec(name="x", dtype="float32", shape=None),), outputs=(spec("other", "N", 10),))
    assert differs(make_model(), loose) is None
    assert differs(make_model(), make_model()) is None


def plan(**options: Any) -> dict[str, Planned | Skipped]:
    model = make_model(parameter_dtypes={"float32": 1_000_000})
    made = plan_variants(model, BOARD, has_samples=True, installed={"torch": "2"}, **options)
    return {each.name: each for each in made}


def test_it_is_planned_when_it_is_named() -> None:
    assert "student" not in plan()
    found = plan(student=GIVEN)
    assert list(found)[-2:] == ["student", "student-int8"]
    assert isinstance(found["student"], Planned)
    assert found["student"].recipe.steps[0].options == {"path": "/student.onnx", "digest": "d"}
    assert found["student"].recipe.title.startswith("small, trained")
    asked = plan(recipes=("student",))["student"]
    assert isinstance(asked, Skipped)
    assert "--student" in asked.reason


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A network, and one of the same shapes that knows nothing yet."""
    places = tmp_path / "net.onnx", tmp_path / "small.onnx"
    for seed, place in enumerate(places):
        made = small_net(seed=seed)
        if seed:
            made.graph.output[0].name = made.graph.node[-1].output[0] = "scores"
        onnx.save(made, place)
    return places


def test_it_learns_and_becomes_int8(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = inspect_model(pair[0])
    student = read_student(pair[1], model, tmp_path / "cache", Silent())
    planned = plan_variants(
        model, BOARD, recipes=("student", "student-int8"), has_samples=True, installed={"torch": "2"}, student=student
    )
    made = build_variants(
        [_quick(each) for each in planned],
        model_path=pair[0],
        model=model,
        calibration=models.noise("x", 1, 3, 16, 16, count=40),
        cache=tmp_path / "cache",
    )
    assert [type(each) for each in made] == [Built, Built, Built], [getattr(each, "reason", "") for each in made]
    assert any("trained: 30 steps" in note for note in made[1].notes)
    assert [o.name for o in inspect_model(Path(made[1].folder) / "model.onnx").outputs] == [
        o.name for o in model.outputs
    ]


def _quick(each: Any) -> Any:
    steps = tuple(
        msgspec.structs.replace(step, options=step.options | {"steps": 30}) if step.name == "recover" else step
        for step in each.recipe.steps
    )
    return msgspec.structs.replace(each, recipe=msgspec.structs.replace(each.recipe, steps=steps))


def test_names_are_its_own_but_for_the_last_features(pair: tuple[Path, Path]) -> None:
    model = onnx.load(pair[0])
    made = read_graph(model, pair[1], inspect_model(pair[1]).digest)
    onnx.checker.check_model(made)
    shared = {name for node in made.graph.node for name in node.output if not name.startswith("student/")}
    assert shared == {"f", "y"}
    with pytest.raises(Refused, match="changed"):
        read_graph(model, pair[1], "another")


def test_one_that_does_not_fit_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    model = inspect_model(pair[0])
    onnx.save(models.classifier(classes=4), pair[1])
    with pytest.raises(ModelError, match="as a student it does not fit") as caught:
        read_student(pair[1], model, tmp_path, Silent())
    assert caught.value.code == "student-unfit"
    assert "inputs" in str(caught.value.hint)
