"""A network as the TFLite writer works on it: nodes, constants, shapes and quantisers, by the names of tensors. Plain data, taken from a static ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt.compiler.refuse import Refused

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Quant:
    """real = scale * (code - zero). Arrays of one element, or one for each entry along `axis`."""

    scale: Array
    zero: Array
    axis: int = 0

    def same(self, other: Quant | None) -> bool:
        """Whether codes mean the same under both."""
        return other is not None and np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)

    def real(self, codes: Array) -> Array:
        """float32 of codes."""
        wide = codes.astype(np.float64) - self.spread(self.zero, codes.ndim)
        return np.asarray(wide * self.spread(self.scale.astype(np.float64), codes.ndim), np.float32)

    def spread(self, values: Array, rank: int) -> Array:
        """Scales or zero points with as many axes as the tensor has."""
        shape = [1] * rank
        if values.size > 1:
            shape[self.axis] = values.size
        return values.reshape(shape)


@dataclass(kw_only=True)
class Node:
    """One operator. `kind` is ONNX's name (or one of ours, see `rewrite`), `activation` TFLite's name of what is fused behind it."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    activation: str = "NONE"

    @property
    def label(self) -> str:
        """How a sentence names it."""
        return f"{self.kind} ({(self.name or self.outputs[0])[:80]})"

    def refuse(self, why: str) -> Refused:
        """The refusal of this node."""
        return Refused("step-failed", f"TFLite has no counterpart for the operator {self.label}: {why}")


@dataclass(kw_only=True)
class Network:
    """`shapes` and `dtypes` (numpy's names) of every tensor, constants too; `quants` of int8 ones, whose constants are codes."""

    nodes: list[Node]
    constants: dict[str, Array]
    shapes: dict[str, Shape]
    dtypes: dict[str, str]
    inputs: list[str]
    outputs: list[str]
    opset: int
    quants: dict[str, Quant] = field(default_factory=dict)

    def readers(self) -> dict[str, list[Node]]:
        """Who reads a tensor; None stands for the graph's outputs."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found

    def producers(self) -> dict[str, Node]:
        """Who makes a tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def value(self, name: str) -> Array | None:
        """A constant in the numbers that it stands for, None for what is no constant."""
        found = self.constants.get(name)
        return None if found is None else self.quants[name].real(found) if name in self.quants else found

    def add(self, stem: str, value: Array) -> str:
        """A new constant; its name."""
        name = self.fresh(stem)
        self.constants[name] = value
        self.shapes[name], self.dtypes[name] = value.shape, str(value.dtype)
        return name

    def like(self, stem: str, other: str, shape: Sequence[int] | None = None) -> str:
        """A new tensor of another one's dtype and quantiser, and of its shape unless told."""
        name = self.fresh(stem)
        self.shapes[name] = self.shapes[other] if shape is None else tuple(shape)
        self.dtypes[name] = self.dtypes[other]
        if other in self.quants:
            self.quants[name] = self.quants[other]
        return name

    def fresh(self, stem: str) -> str:
        """A name that nothing has."""
        number = 0
        while f"{stem}~{number}" in self.shapes:
            number += 1
        return f"{stem}~{number}"

    def prune(self) -> None:
        """Drop nodes that no output needs."""
        wanted, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.outputs):
                kept.append(node)
                wanted.update(node.inputs)
        self.nodes = kept[::-1]


Rewrite = Callable[[Network, Node], list[Node]]
"""What stands for a node."""


def node_like(kind: str, like: Node, inputs: list[str], output: str, **attributes: Any) -> Node:
    """A node with one answer, under the name of the one that it comes from."""
    return Node(kind=kind, name=like.name, inputs=inputs, outputs=[output], attributes=attributes)


def network_of(model: Any) -> Network:
    """From a static graph, see `static`.

    Raises:
        Refused: step-failed: it has operators of other domains, types that are no numbers, or control flow.
    """
    import onnx

    graph = model.graph
    constants = {tensor.name: np.asarray(onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    network = Network(
        nodes=[_node(node, onnx) for node in graph.node],
        constants=constants,
        shapes={name: value.shape for name, value in constants.items()},
        dtypes={name: str(value.dtype) for name, value in constants.items()},
        inputs=[value.name for value in graph.input if value.name not in constants],
        outputs=[value.name for value in graph.output],
        opset=next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx")),
    )
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        network.shapes.setdefault(value.name, tuple(axis.dim_value for axis in kind.shape.dim))
        network.dtypes.setdefault(value.name, str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))))
    return network


def _node(node: Any, onnx: Any) -> Node:
    made = Node(
        kind=node.op_type,
        name=node.name,
        inputs=list(node.input),
        outputs=list(node.output),
        attributes={each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
    )
    if node.domain not in ("", "ai.onnx"):
        raise made.refuse(f"it is of the domain {node.domain[:80]}")
    return made
