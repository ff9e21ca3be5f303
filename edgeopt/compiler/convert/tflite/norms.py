"""Normalisations in terms of means and products."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeopt.compiler.convert.tflite.network import Network, Node, Rewrite, node_like


def _batch_norm(network: Network, node: Node) -> list[Node]:
    values = [network.value(name) for name in node.inputs[1:5]]
    if any(value is None for value in values) or len([name for name in node.outputs if name]) > 1:
        raise node.refuse("its statistics must be constants")
    scale, shift, mean, variance = (np.asarray(value, np.float64) for value in values)
    factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    rank = len(network.shapes[node.inputs[0]])
    return _affine(network, node, node.inputs[0], factor, shift - mean * factor, (1, -1, *([1] * (rank - 2))))


def _affine(network: Network, node: Node, source: str, factor: Any, offset: Any, shape: tuple[int, ...]) -> list[Node]:
    between = network.like(node.outputs[0], node.outputs[0])
    names = [network.add(node.outputs[0], np.asarray(value, np.float32).reshape(shape)) for value in (factor, offset)]
    return [
        node_like("Mul", node, [source, names[0]], between),
        node_like("Add", node, [between, names[1]], node.outputs[0]),
    ]


def _standardised(network: Network, node: Node, axes: list[int]) -> tuple[list[Node], str]:
    """(x - mean) / sqrt(variance + epsilon) over some axes."""
    source = node.inputs[0]
    shape = network.shapes[source]
    small = [1 if axis in axes else size for axis, size in enumerate(shape)]
    mean, variance, steady, factor = (network.like(source, source, small) for _ in range(4))
    apart, squares, made = (network.like(source, source) for _ in range(3))
    epsilon = network.add(source, np.full((1,) * len(shape), node.attributes.get("epsilon", 1e-5), np.float32))
    nodes = [
        node_like("ReduceMean", node, [source], mean, axes=axes),
        node_like("Sub", node, [source, mean], apart),
        node_like("Mul", node, [apart, apart], squares),
        node_like("ReduceMean", node, [squares], variance, axes=axes),
        node_like("Add", node, [variance, epsilon], steady),
        node_like("Rsqrt", node, [steady], factor),
        node_like("Mul", node, [apart, factor], made),
    ]
    return nodes, made


def _instance_norm(network: Network, node: Node) -> list[Node]:
    rank = len(network.shapes[node.inputs[0]])
    scale, shift = (network.value(name) for name in node.inputs[1:3])
    if scale is None or shift is None:
        raise node.refuse("its scale must be constant")
    nodes, made = _standardised(network, node, list(range(2, rank)))
    return nodes + _affine(network, node, made, scale, shift, (1, -1, *([1] * (rank - 2))))


def _layer_norm(network: Network, node: Node) -> list[Node]:
    if len([name for name in node.outputs if name]) > 1:
        raise node.refuse("it answers mean and variance, too")
    rank = len(network.shapes[node.inputs[0]])
    axis = int(node.attributes.get("axis", -1)) % rank
    nodes, made = _standardised(network, node, list(range(axis, rank)))
    wanted, operands = node.outputs[0], [name for name in node.inputs[1:3] if name]
    for number, operand in enumerate(operands):
        last = number == len(operands) - 1
        target = wanted if last else network.like(wanted, wanted)
        nodes.append(node_like(("Mul", "Add")[number], node, [made, operand], target))
        made = target
    return nodes


TABLE: Mapping[str, Rewrite] = MappingProxyType(
    {
        "BatchNormalization": _batch_norm,
        "InstanceNormalization": _instance_norm,
        "LayerNormalization": _layer_norm,
    }
)
