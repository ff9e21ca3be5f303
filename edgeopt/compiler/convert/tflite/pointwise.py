"""Operators that work value by value: they take the order that they get."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Node, Shape
from edgeopt.compiler.convert.tflite.orders import Order, in_memory, plain

UNARY = {
    "Abs": "ABS", "Ceil": "CEIL", "Cos": "COS", "Elu": "ELU", "Exp": "EXP", "Floor": "FLOOR", "HardSwish": "HARD_SWISH", "Log": "LOG",
    "Neg": "NEG", "Not": "LOGICAL_NOT", "Relu": "RELU", "Relu6": "RELU6", "ReluN1To1": "RELU_N1_TO_1", "Round": "ROUND",
    "Rsqrt": "RSQRT", "Sigmoid": "LOGISTIC", "Sign": "SIGN", "Sin": "SIN", "Sqrt": "SQRT", "Square": "SQUARE", "Tanh": "TANH",
}  # fmt: skip

BINARY = {
    "Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Pow": "POW", "Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD",
    "SquaredDifference": "SQUARED_DIFFERENCE", "And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Equal": "EQUAL", "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL", "Less": "LESS", "LessOrEqual": "LESS_EQUAL",
}  # fmt: skip

FUSING = frozenset({"ADD", "SUB", "MUL", "DIV"})
"""Those that take an activation behind them."""

MAX_BROADCAST = 4
"""Axes that these operators stretch in every version of the runtime."""


def unary(lowering: Lowering, node: Node) -> None:
    """One operand, one answer of its shape."""
    _one(lowering, node, UNARY[node.kind], {})


def leaky_relu(lowering: Lowering, node: Node) -> None:
    """Itself where it is positive, alpha times that elsewhere."""
    _one(lowering, node, "LEAKY_RELU", {"alpha": float(node.attributes.get("alpha", 0.01))})


def gelu(lowering: Lowering, node: Node) -> None:
    """Exact, or by tanh."""
    _one(lowering, node, "GELU", {"approximate": node.attributes.get("approximate", b"none") == b"tanh"})


def cast(lowering: Lowering, node: Node) -> None:
    """Another dtype."""
    source, target = node.inputs[0], node.outputs[0]
    if lowering.network.dtypes[source] == lowering.network.dtypes[target]:
        alias(lowering, node)
    else:
        _one(lowering, node, "CAST", {})


def _one(lowering: Lowering, node: Node, kind: str, options: Mapping[str, Any]) -> None:
    source = node.inputs[0]
    order = lowering.order(source)
    lowering.write(node.outputs[0], order, kind, [lowering.read(source, order)], **options)


def alias(lowering: Lowering, node: Node) -> None:
    """The same values under another name."""
    source, target = node.inputs[0], node.outputs[0]
    lowering.read(source)
    forms = lowering.forms.get(source)
    lowering.forms[target] = forms if forms is not None else {lowering.order(source): lowering.read(source)}


def binary(lowering: Lowering, node: Node) -> None:
    """Two operands or more, stretched to each other."""
    kind, target = BINARY[node.kind], node.outputs[0]
    options = {"fusedActivationFunction": activation_of(lowering, node)} if kind in FUSING else {}
    order = lowering.common_order(node.inputs, lowering.rank(target))
    operands = [lowering.read_as(name, len(order), order) for name in node.inputs]
    if len(operands) == 1:
        lowering.put(target, order, lowering.reshape(operands[0], in_memory(lowering.shape(target), order)))
        return
    made = operands[0]
    for operand in operands[1:]:
        made = _joined(lowering, kind, made, operand, target, options)
    lowering.put(target, order, made)


def _joined(lowering: Lowering, kind: str, one: int, other: int, like: str, options: Mapping[str, Any]) -> int:
    shapes = [lowering.file.shape(index) for index in (one, other)]
    whole = tuple(np.broadcast_shapes(*shapes))
    if len(whole) <= MAX_BROADCAST or shapes[0] == shapes[1]:
        return lowering.make(kind, [one, other], like, whole, **options)
    groups = _groups(shapes)
    joined = [lowering.reshape(index, _fewer(lowering.file.shape(index), groups)) for index in (one, other)]
    return lowering.reshape(lowering.make(kind, joined, like, _fewer(whole, groups), **options), whole)


def _groups(shapes: list[Shape]) -> list[list[int]]:
    """Neighbouring axes that are stretched alike, to be treated as one."""
    pattern = [tuple(size == 1 for size in sizes) for sizes in zip(*shapes, strict=True)]
    groups: list[list[int]] = []
    for axis, kind in enumerate(pattern):
        if groups and (all(kind) or pattern[groups[-1][0]] == kind):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _fewer(shape: Shape, groups: list[list[int]]) -> Shape:
    return tuple(int(np.prod([shape[axis] for axis in group])) for group in groups)


def where(lowering: Lowering, node: Node) -> None:
    """One of two values by a condition."""
    target = node.outputs[0]
    order = lowering.common_order(node.inputs, lowering.rank(target))
    operands = [lowering.read_as(name, len(order), order) for name in node.inputs]
    lowering.write(target, order, "SELECT_V2", operands)


def clip(lowering: Lowering, node: Node) -> None:
    """Between two constants; the common pairs have operators of their own, see `rewrite`."""
    source, target = node.inputs[0], node.outputs[0]
    order = lowering.order(source)
    made = lowering.read(source, order)
    shape = in_memory(lowering.shape(target), order)
    for kind, name in (("MAXIMUM", "min"), ("MINIMUM", "max")):
        if name in node.attributes:
            bound = lowering.file.constant(
                "bound", np.asarray([node.attributes[name]], lowering.network.dtypes[source])
            )
            made = lowering.make(kind, [made, bound], target, shape)
    lowering.put(target, order, made)


def prelu(lowering: Lowering, node: Node) -> None:
    """LeakyRelu with a slope for each channel."""
    source, slope, target = *node.inputs[:2], node.outputs[0]
    order = lowering.order(source)
    slopes = lowering.read_as(slope, len(order), order)
    shape = lowering.file.shape(slopes)
    if slope in lowering.network.constants and shape[0] == 1 and len(shape) > 1:
        slopes = lowering.file.constant(
            slope, lowering.network.constants[slope].reshape(shape[1:]), lowering.quant(slope)
        )
    lowering.write(target, order, "PRELU", [lowering.read(source, order), slopes])


def activation_of(lowering: Lowering, node: Node) -> int:
    """The schema's number of what is fused behind a node."""
    return int(getattr(lowering.file.schema.ActivationFunctionType, node.activation))


def requantise(lowering: Lowering, node: Node) -> None:
    """Float to int8, or int8 of one scale to int8 of another."""
    _one(lowering, node, "QUANTIZE", {})


def dequantise(lowering: Lowering, node: Node) -> None:
    """int8 to float; where each channel has its own scale (a head), by a product behind it."""
    source, target = node.inputs[0], node.outputs[0]
    # What leaves the graph is moved while it is small.
    order = plain(lowering.rank(source)) if target in lowering.network.outputs else lowering.order(source)
    made = lowering.make("DEQUANTIZE", [lowering.read(source, order)], target, in_memory(lowering.shape(target), order))
    scales = node.attributes.get("scales")
    if scales is not None:
        made = lowering.make(
            "MUL",
            [made, _along(lowering, scales, int(node.attributes["axis"]), order)],
            target,
            lowering.file.shape(made),
            fusedActivationFunction=0,
        )
    lowering.put(target, order, made)


def _along(lowering: Lowering, values: Any, axis: int, order: Order) -> int:
    shape = [1] * len(order)
    shape[order.index(axis)] = len(values)
    return lowering.floats(np.asarray(values, np.float32).reshape(shape))


TABLE: Mapping[str, Lower] = MappingProxyType(
    dict.fromkeys(UNARY, unary)
    | dict.fromkeys(BINARY, binary)
    | {
        "LeakyRelu": leaky_relu,
        "Gelu": gelu,
        "Cast": cast,
        "Identity": alias,
        "Where": where,
        "Clip": clip,
        "PRelu": prelu,
        "QuantizeLinear": requantise,
        "DequantizeLinear": dequantise,
    }
)
