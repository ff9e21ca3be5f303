"""What a constant is to its network, by the place where it is read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from edgeopt.compiler.train.operators.node import Node

Role = Literal["weight", "affine", "table"]
"""A matrix or kernel; a bias, scale or slope of a channel; rows that are looked up."""

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)

_SLOTS: dict[str, dict[int, Role]] = {
    "Conv": {1: "weight", 2: "affine"},
    "ConvTranspose": {1: "weight", 2: "affine"},
    "Gemm": {0: "weight", 1: "weight", 2: "affine"},
    "MatMul": {0: "weight", 1: "weight"},
    "BatchNormalization": {1: "affine", 2: "affine"},
    "InstanceNormalization": {1: "affine", 2: "affine"},
    "LayerNormalization": {1: "affine", 2: "affine"},
    "SkipLayerNormalization": {2: "affine", 3: "affine", 4: "affine"},
    "GroupNormalization": {1: "affine", 2: "affine"},
    "RMSNormalization": {1: "affine"},
    "PRelu": {1: "affine"},
    "BiasGelu": {1: "affine"},
    "Gather": {0: "table"},
}
_JOINS = frozenset({"Add", "Sub", "Mul", "Sum"})
"""A constant of several values in one of these is a bias or a scale; a single value is part of a formula."""


def role_of(name: str, array: Any, nodes: Sequence[Node]) -> Role | None:
    """The role of a constant, None for what is never trained: shapes, single numbers, statistics, and whatever is read in two ways."""
    if array.dtype != "float32" or not array.size:
        return None
    found = {_in(node, slot, array) for node in nodes for slot, other in enumerate(node.inputs) if other == name}
    return found.pop() if len(found) == 1 else None


def _in(node: Node, slot: int, array: Any) -> Role | None:
    if node.op in _JOINS:
        return "affine" if array.size > 1 else None
    role = _SLOTS.get(node.op, {}).get(slot)
    return None if role == "table" and array.ndim != 2 else role
