"""A node of a graph as operators see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeopt.compiler.refuse import Refused

Tensors = Sequence[Any]
"""torch tensors; None for an optional input that is left out."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """`attributes` are plain values, tensors among them as numpy arrays. `opset` is the version of the operators, which decides what some attributes mean.

    `batch` is the size of the first axis that the graph was written for: shapes in constants may name it. `running` is the size that is fed now, None when it is that one.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    batch: int | None = None
    running: int | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is when it is not written."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> Refused:
        """An error that names the node."""
        return Refused("twin-unsupported", f"{self.title} cannot be trained: {why}")

    @property
    def title(self) -> str:
        """The operator with its node's name, or its output's where it has none."""
        return f"the operator {self.op} ({(self.name or self.outputs[0])[:80]})"


Operator = Callable[[Node, Tensors], Any]
"""A tensor, or a tuple of them for operators of several outputs."""


def given(inputs: Tensors, index: int) -> Any:
    """An optional input, None when it is left out."""
    return inputs[index] if index < len(inputs) else None


def numbers(tensor: Any) -> list[Any]:
    """The entries of a small tensor as Python numbers."""
    values: list[Any] = tensor.reshape(-1).tolist()
    return values


def listed(node: Node, inputs: Tensors, index: int, attribute: str) -> list[int] | None:
    """What older opsets have as an attribute, and newer ones as an input; None when it is in neither."""
    tensor = given(inputs, index)
    if tensor is not None:
        return [int(value) for value in numbers(tensor)]
    values = node.get(attribute)
    return None if values is None else [int(value) for value in values]
