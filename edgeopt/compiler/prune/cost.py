"""What a network takes on a CPU, by counting: multiplications with widths as the kernels round them, bytes moved, and something for every operator. Pure arithmetic, the same everywhere.

It decides which channels are worth removing and when enough are gone, nothing else: what a variant really takes is measured on the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from edgeopt.compiler.quantize.graph import Graph, attribute
from edgeopt.compiler.quantize.layers import Layer


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Of one thread, in multiplications and bytes of a microsecond; `call` in microseconds. The defaults were fitted to single operators of onnxruntime 1.32 on AVX-512 (convolutions of 8 to 256 channels, dense, 1x1 and depthwise, and products of matrices, timed one by one)."""

    dense: float = 133e3
    stem: float = 72e3
    depthwise: float = 56e3
    pool: float = 28e3
    weights: float = 20e3
    activations: float = 90e3
    call: float = 2.0

    @classmethod
    def scaled(cls, gmac_per_s: float, gb_per_s: float) -> Rates:
        """Those of a board with other rates of multiplying and moving; what lies between them stays in proportion."""
        own = cls()
        slower = own.dense / (gmac_per_s * 1e3)
        moving = own.weights / (gb_per_s * 1e3)
        return cls(
            dense=own.dense / slower,
            stem=own.stem / slower,
            depthwise=own.depthwise / slower,
            pool=own.pool / slower,
            weights=own.weights / moving,
            activations=own.activations / moving,
            call=own.call * slower,
        )


def rates_of(gmac_per_s: float | None, gb_per_s: float | None) -> Rates:
    """A board's, or those of the computer that the constants are from where nothing is known of it."""
    return Rates() if gmac_per_s is None or gb_per_s is None else Rates.scaled(gmac_per_s, gb_per_s)


class CostModel:
    """Costs of a network's operators for whatever widths."""

    def __init__(self, graph: Graph, layers: Mapping[str, Layer], *, block: int, rates: Rates | None = None) -> None:
        """Count sizes once, of batch 1; open axes count as 1."""
        self.graph, self.block, self.rates = graph, block, rates or Rates()
        self.layers = {layer.product: layer for layer in layers.values()}
        self.sizes = {name: [dim or 1 for dim in graph.shape(name) or ()] for name in graph.types}

    def microseconds(self, widths: Mapping[str, tuple[int, int]]) -> float:
        """The sum over all operators.

        Args:
            widths: tensor -> (axis, channels) where these are other than in the whole network.
        """
        return sum((self._node(node, widths) for node in self.graph.graph.node), 0.0)

    def _shape(self, name: str, widths: Mapping[str, tuple[int, int]]) -> list[int]:
        shape = list(self.sizes.get(name, ()))
        axis, count = widths.get(name, (0, 0))
        if count and axis < len(shape):
            shape[axis] = count
        return shape

    def _node(self, node: Any, widths: Mapping[str, tuple[int, int]]) -> float:
        if node.op_type in FREE:
            return 0.0
        layer = self.layers.get(node.output[0])
        written = self._shape(node.output[0], widths)
        if layer is not None:
            return self._product(layer, self._shape(layer.source, widths), written)
        if node.op_type in FUSED:
            return 0.0
        names = [name for name in node.input if name in self.sizes and name not in self.graph.tensors]
        moved = 4.0 * (prod(written) + sum(prod(self._shape(name, widths)) for name in names))
        compared = prod(written) * prod(attribute(node, "kernel_shape", [0])) if node.op_type.endswith("Pool") else 0
        return self.rates.call + compared / self.rates.pool + moved / self.rates.activations

    def as_one(self, layer: Layer) -> float:
        """Microseconds of a layer's product as it is."""
        return self._product(layer, self._shape(layer.source, {}), self._shape(layer.product, {}))

    def as_two(self, layer: Layer, rank: int) -> float:
        """Microseconds of a product by a matrix, written as two by way of `rank` channels."""
        axis = 1 if layer.kind == "Conv" else -1
        read, written = self._shape(layer.source, {}), self._shape(layer.product, {})
        between = list(written)
        between[axis] = rank
        return self._product(layer, read, between) + self._product(layer, between, written)

    def _product(self, layer: Layer, read: list[int], written: list[int]) -> float:
        rates = self.rates
        moved = 4.0 * prod(read) / rates.activations + rates.call
        if layer.kind != "Conv":
            weights = written[-1] * read[-1]
            return moved + prod(written[:-1]) * weights / rates.dense + 4.0 * weights / rates.weights
        kernel, positions, outputs = prod(layer.weight.shape[2:]), prod(written[2:]), self._up(written[1])
        if layer.depthwise:
            return float(moved + positions * outputs * kernel / rates.depthwise)
        inputs = read[1] if layer.group == 1 else layer.weight.shape[1]
        rate = rates.stem
        if inputs >= STEM:
            rate, inputs = rates.dense, self._up(inputs)
        rate = rate / LONE_BLOCK if outputs <= self.block else rate
        weights = outputs * inputs * kernel
        return float(moved + positions * weights / rate + 4.0 * weights / rates.weights)

    def _up(self, channels: int) -> int:
        return -(-channels // self.block) * self.block


LONE_BLOCK = 1.4
"""How much slower a convolution is whose answer is one block wide: the kernel holds up to four."""
STEM = 8
"""Input channels below which the runtime's blocked kernels cannot be used."""
FREE = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Identity", "Constant", "Dropout"})
FUSED = frozenset({"Add", "Relu", "Clip", "LeakyRelu", "HardSigmoid", "Sigmoid", "Tanh"})
"""Activations, which mostly fuse into what they follow, or cost little beside it."""
