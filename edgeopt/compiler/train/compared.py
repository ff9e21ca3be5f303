"""What of two networks is compared: the answers, as logits where there are some, and features between, by the names that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgeopt.compiler.train.operators.node import Node
from edgeopt.compiler.train.twin import Twin

MOST_BLOCKS = 4
"""Block ends that are compared besides the last features, evenly spaced."""

MORE_THAN_ONE = 2

PLAIN = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Transpose", "Cast"})
POOLING = frozenset({"GlobalAveragePool", "AveragePool", "GlobalMaxPool", "ReduceMean"})
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul", "ConvTranspose"})
ENDS = frozenset({"Add", "Concat", "LayerNormalization", "SkipLayerNormalization", "MaxPool", "Sum"})
BY_CLASS = ("classification", "tokens", "segmentation")
"""Tasks whose answers are classes, and so compared as distributions."""


@dataclass(frozen=True)
class Compared:
    """Names of tensors.

    `logits` are distributions before their softmax, with the axis of the classes; `values` are answers of any other kind. `last` are the features that the answers are made of, None where the
    student has none of the same shape; `blocks` are ends of blocks before them.
    """

    logits: tuple[tuple[str, int], ...]
    values: tuple[str, ...]
    last: str | None
    blocks: tuple[str, ...]

    @property
    def wanted(self) -> tuple[str, ...]:
        """All of them, once each."""
        features = (*self.blocks, *((self.last,) if self.last else ()))
        return tuple(dict.fromkeys((*(name for name, _ in self.logits), *self.values, *features)))


def compared(teacher: Twin, student: Twin, feeds: Mapping[str, Any], *, task: str | None) -> Compared:
    """Find what both networks have, by name and shape, on one sample.

    Args:
        teacher: the original.
        student: with the teacher's names, where it was made from it; else its answers, and its last features where they have the teacher's shape, are known by the teacher's names from now on.
        feeds: a sample.
        task: of the model, where it is known: the answers of a classifier that ends without a softmax are logits.
    """
    with torch.no_grad():
        theirs, ours = _shapes(teacher, feeds), _shapes(student, feeds)
    shapes = {name: shape for name, shape in ours.items() if theirs.get(name) == shape}
    logits, values = [], []
    for name, own, axis in _answers(teacher, student, task):
        if own not in ours or theirs.get(name) != ours[own]:
            continue
        student.also_known_as(own, name)
        # One class is no choice: a single number is compared as that.
        if axis is not None and ours[own][axis] >= MORE_THAN_ONE:
            logits.append((name, axis))
        else:
            values.append(name)
    answers = {name for name, _ in logits} | set(values)
    own_answers = {student.own_name(name) for name in answers}
    last = _last(student, own_answers, shapes)
    if last is None:
        other, counterpart = _last(teacher, answers, theirs), _last(student, own_answers, ours)
        if other is not None and counterpart is not None and theirs[other] == ours[counterpart]:
            student.also_known_as(counterpart, other)
            last = other
    ends = [name for node in student.nodes if node.op in ENDS for name in node.outputs[:1] if name in shapes]
    ends = [name for name in ends if name != last and name not in answers]
    return Compared(logits=tuple(logits), values=tuple(values), last=last, blocks=_spread(ends))


def _answers(teacher: Twin, student: Twin, task: str | None) -> Iterator[tuple[str, str, int | None]]:
    """(the teacher's tensor, the student's, axis of the classes) of each output, paired by their places."""
    makers, own_makers = ({name: node for node in twin.nodes for name in node.outputs} for twin in (teacher, student))
    for output, own_output in zip(teacher.output_names, student.output_names, strict=False):
        (name, axis), (own, own_axis) = answer_of(output, makers, task), answer_of(own_output, own_makers, task)
        if (axis is None) != (own_axis is None):
            name, own, axis = output, own_output, None
        yield name, own, axis


def answer_of(name: str, makers: Mapping[str, Node], task: str | None) -> tuple[str, int | None]:
    """(tensor, axis of its classes) behind an output: what its softmax reads; the output itself when a classifier has none; (output, None) for values."""
    at = name
    while at in makers:
        node = makers[at]
        if node.op in ("Softmax", "LogSoftmax"):
            legacy = node.opset < 13
            return node.inputs[0], int(node.get("axis", 1 if legacy else -1))
        if node.op not in PLAIN:
            break
        at = node.inputs[0]
    if task in BY_CLASS:
        return name, 1 if task == "segmentation" else -1
    return name, None


def _shapes(twin: Twin, feeds: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of the float tensors that it makes of a sample."""
    made = twin(feeds, tuple(dict.fromkeys(name for node in twin.nodes for name in node.outputs if name)))
    found = {name: x for name, x in made.items() if x is not None and x.is_floating_point() and x.dim() > 1}
    return {name: tuple(x.shape) for name, x in found.items()}


def _last(student: Twin, answers: set[str], shapes: Mapping[str, Any]) -> str | None:
    """The tensor before the last pooling, else the input of the product that makes an answer (Wang et al., *Compressing Models with Few Samples: Mimicking then Replacing*, CVPR 2022)."""
    upstream = set(answers)
    candidates: list[str] = []
    for node in reversed(student.nodes):
        if not upstream.intersection(node.outputs):
            continue
        upstream.update(node.inputs)
        if node.op in POOLING and node.inputs[0] in shapes:
            return node.inputs[0]
        if node.op in PRODUCTS and node.inputs[0] in shapes and node.inputs[0] not in answers:
            candidates.append(node.inputs[0])
    return candidates[0] if candidates else None


def _spread(names: Sequence[str]) -> tuple[str, ...]:
    """At most so many, evenly spaced, the last among them."""
    names = list(dict.fromkeys(names))
    if len(names) <= MOST_BLOCKS:
        return tuple(names)
    return tuple(names[(i + 1) * len(names) // MOST_BLOCKS - 1] for i in range(MOST_BLOCKS))
