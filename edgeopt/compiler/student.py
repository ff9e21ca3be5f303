"""A student that the user names: whether it fits the model, and how the recipes for it are planned. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeopt.compiler.signature import shape_words
from edgeopt.domain.model import ModelInfo, StudentModel, TensorSpec
from edgeopt.domain.variant import Recipe, Step

STUDENT = "student"
"""The step that takes the student's graph for the model's."""


def differs(model: ModelInfo, student: ModelInfo) -> str | None:
    """Why a student cannot stand in for a model; None when it can. Inputs go by name, outputs by their order."""
    if student.format != "onnx":
        return f"it is a {student.format} file, and a student is an ONNX file or becomes one"
    mine, other = ({spec.name: spec for spec in each.inputs} for each in (model, student))
    if mine.keys() != other.keys():
        return f"it takes {_listed(student.inputs)}, the model takes {_listed(model.inputs)}"
    if len(model.outputs) != len(student.outputs):
        return f"it has {len(student.outputs)} outputs, the model {len(model.outputs)}"
    pairs = [*((mine[name], other[name]) for name in mine), *zip(model.outputs, student.outputs, strict=True)]
    for one, two in pairs:
        if one.dtype != two.dtype or not _agree(one, two):
            return f"its {two.name} is {two.dtype} {shape_words(two)}, the model's {one.name} is {one.dtype} {shape_words(one)}"
    return None


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _agree(one: TensorSpec, two: TensorSpec) -> bool:
    """Same number of axes, and the same size where both are fixed."""
    if one.shape is None or two.shape is None:
        return True
    return len(one.shape) == len(two.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(one.shape, two.shape, strict=True)
    )


def takes_student(recipe: Recipe) -> bool:
    """Whether a recipe begins from a student."""
    return any(step.name == STUDENT for step in recipe.steps)


def no_student(recipe: Recipe, student: StudentModel | None) -> str | None:
    """Why a recipe that needs a student cannot be built."""
    if student is not None or not takes_student(recipe):
        return None
    return "it trains a smaller network that you name: --student small.onnx, or file.py:callable"


def with_student(recipe: Recipe, student: StudentModel | None) -> Recipe:
    """The recipe with the student's file filled in."""
    if student is None or not takes_student(recipe):
        return recipe
    told = {"path": student.path, "digest": student.digest}
    steps = tuple(Step(name=s.name, options=s.options | told) if s.name == STUDENT else s for s in recipe.steps)
    return msgspec.structs.replace(recipe, title=recipe.title.replace("your student", student.name), steps=steps)
