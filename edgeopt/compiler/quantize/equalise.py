"""Cross-layer equalisation: lift the small channels of a tensor so that they use the codes of its one scale. Child side.

Channel c of a layer's answer is multiplied by s_c, and whatever reads it divides by s_c: the network computes the same (Nagel et al., Data-Free Quantization Through
Weight Equalization and Bias Correction, ICCV 2019, section 4.1). Here s comes from what the samples make of the channels, not from weights:
s_c = min((R / r_c)^alpha, 64), r_c the channel's largest answer and R the largest of its scale group. So s_c r_c <= R: where the largest answer is under a Clip's
bound it stays so, and no channel is ever made smaller.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array, Graph, attribute
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.observe import ChannelRanges
from edgeopt.compiler.quantize.placement import Placement

LARGEST = 64.0
ALPHA = 0.5
"""Half of the way: the other half would make the next layer's small weights too small."""

HOMOGENEOUS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "LeakyRelu", "Identity"})
"""f(s x) = s f(x) for s > 0, channel by channel."""


def equalise(
    graph: Graph, layers: list[Layer], placement: Placement, ranges: ChannelRanges, alpha: float = ALPHA
) -> int:
    """Scale channels in place; returns how many layers' answers were scaled. `ranges` has those of every layer's `out`; they are scaled too."""
    by_source: dict[str, list[Layer]] = {}
    for layer in layers:
        by_source.setdefault(layer.source, []).append(layer)
    members = placement.groups()
    scaled = 0
    for layer in layers:
        readers = _readers(graph, layer, by_source) if layer.kind != "MatMul" else []
        factors = _factors(layer, readers, placement, members, ranges, alpha) if readers else None
        if factors is None:
            continue
        _apply(layer, readers, factors)
        for kept in (ranges.low, ranges.high):
            kept[layer.out] = kept[layer.out] * factors
        scaled += 1
    return scaled


def _factors(
    layer: Layer,
    readers: list[tuple[Layer, int]],
    placement: Placement,
    members: dict[str, list[str]],
    ranges: ChannelRanges,
    alpha: float,
) -> Array | None:
    if layer.out not in placement.group or len(ranges.low.get(layer.out, ())) != layer.channels:
        return None
    largest = np.maximum(np.abs(ranges.low[layer.out]), np.abs(ranges.high[layer.out])).astype(np.float64)
    low, high = ranges.range(members[placement.group[layer.out]])
    top = max(-low, high)
    if top <= 0.0:
        return None
    exponent = 1.0 if all(reader.depthwise for reader, _ in readers) else alpha
    alive = largest > top * 1e-6
    factors = np.ones_like(largest)
    factors[alive] = np.clip((top / largest[alive]) ** exponent, 1.0, LARGEST)
    return factors.astype(np.float32)


def _apply(layer: Layer, readers: list[tuple[Layer, int]], factors: Array) -> None:
    layer.weight = layer.weight * factors.reshape(-1, *[1] * (layer.weight.ndim - 1))
    layer.bias = layer.bias * factors
    for reader, offset in readers:
        if reader.kind == "Conv" and reader.group > 1:
            _divide_grouped(reader, factors, offset)
            continue
        weight = reader.weight.copy()
        part = slice(offset, offset + len(factors))
        weight[:, part] /= factors.reshape(1, -1, *[1] * (weight.ndim - 2))
        reader.weight = weight


def _divide_grouped(reader: Layer, factors: Array, offset: int) -> None:
    """Output o reads the inputs of its group only: input i of group g is channel g * (I / groups) + i."""
    weight = reader.weight.copy()
    per_group = weight.shape[1]
    outputs = reader.channels // reader.group
    for group in range(reader.group):
        for i in range(per_group):
            channel = group * per_group + i - offset
            if 0 <= channel < len(factors):
                weight[group * outputs : (group + 1) * outputs, i] /= factors[channel]
    reader.weight = weight


def _readers(graph: Graph, layer: Layer, by_source: dict[str, list[Layer]]) -> list[tuple[Layer, int]]:
    """Every layer that reads the answer, with the first channel that it has there; empty when anything else reads it."""
    found: list[tuple[Layer, int]] = []
    stack = [(layer.out, 0)]
    while stack:
        tensor, offset = stack.pop()
        if tensor in graph.outputs:
            return []
        for node in graph.consumers.get(tensor, []):
            reader = next((each for each in by_source.get(tensor, []) if each.name == node.name), None)
            if (
                reader is not None
                and reader.kind != "MatMul"
                and node.input[0] == tensor
                and list(node.input).count(tensor) == 1
            ):
                found.append((reader, offset))
                continue
            step = _through(graph, node, tensor)
            if step is None:
                return []
            stack.append((node.output[0], offset + step))
    return found


def _through(graph: Graph, node: Any, tensor: str) -> int | None:
    """By how many channels a node that keeps channels apart moves them; None for any other node."""
    if node.op_type in HOMOGENEOUS and len([name for name in node.output if name]) == 1:
        return 0
    if node.op_type == "Flatten" and attribute(node, "axis", 1) == 1:
        shape = graph.shape(tensor)
        return 0 if shape is not None and all(axis == 1 for axis in shape[2:]) else None
    if node.op_type == "Concat" and attribute(node, "axis") == 1 and list(node.input).count(tensor) == 1:
        before = node.input[: list(node.input).index(tensor)]
        sizes = [(graph.shape(name) or (None, None))[1:2] for name in before]
        return None if any(not size or size[0] is None for size in sizes) else sum(size[0] or 0 for size in sizes)
    return None
