"""What stands behind a product, as a function of one number: its mean is what bias correction matches. Child side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array, Graph, attribute


@dataclass(frozen=True)
class Curve:
    """y for y > 0 (at most `high`), `below` * y for y < 0; with `gated`, y * sigmoid(y) instead (SiLU). The default is the identity."""

    below: float = 1.0
    high: float = np.inf
    gated: bool = False

    def apply(self, y: Array) -> Array:
        """The activation's answers."""
        if self.gated:
            return np.asarray(y * _sigmoid(y))
        return np.asarray(np.minimum(np.where(y < 0.0, np.float32(self.below) * y, y), np.float32(self.high)))

    def slope(self, y: Array) -> Array:
        """The derivative, float32."""
        if self.gated:
            gate = _sigmoid(y)
            return np.asarray(gate * (1.0 + y * (1.0 - gate)))
        return np.asarray(np.where(y < 0.0, self.below, y < self.high), np.float32)


IDENTITY = Curve()


def curve_behind(graph: Graph, tensor: str) -> Curve:
    """The activation that reads a product, directly or behind a Reshape; the identity when there is none, or another reader."""
    reader = graph.only_consumer(tensor)
    if reader is None:
        return Curve(gated=True) if _is_silu(graph, tensor) else IDENTITY
    if reader.op_type == "Reshape":
        return curve_behind(graph, reader.output[0])
    if reader.op_type == "Relu":
        return Curve(below=0.0)
    if reader.op_type == "LeakyRelu":
        return Curve(below=float(attribute(reader, "alpha", 0.01)))
    if reader.op_type == "Clip" and clip_bound(graph, reader, 1) == 0.0:
        return Curve(below=0.0, high=clip_bound(graph, reader, 2) or np.inf)
    return IDENTITY


def clip_bound(graph: Graph, node: Any, position: int) -> float | None:
    """A Clip's lower (1) or upper (2) bound; infinite when it is left out, None when it is computed."""
    if len(node.input) <= position or not node.input[position]:
        return float("-inf") if position == 1 else float("inf")
    value = graph.constant(node.input[position])
    return None if value is None else float(value.reshape(-1)[0])


def _is_silu(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is read by its own Sigmoid and by the product of both, and by nobody else."""
    readers = graph.consumers.get(tensor, [])
    gate = next((reader for reader in readers if reader.op_type == "Sigmoid"), None)
    product = next((reader for reader in readers if reader.op_type == "Mul"), None)
    return (
        len(readers) == 2
        and gate is not None
        and product is not None
        and set(product.input) == {tensor, gate.output[0]}
        and graph.only_consumer(gate.output[0]) is not None
    )


def _sigmoid(y: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(y, -60.0, 60.0))))
