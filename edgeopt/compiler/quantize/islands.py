"""Where data leaves int8 between two integer products and comes back: each such place costs two conversions and a float kernel. Pure; reads an optimised graph."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from edgeopt.compiler.quantize.graph import attribute

CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
OUTPUT_SCALE = 7
"""Position of QGemm's output scale among its inputs: without one it answers in float."""

INT8, FLOAT, OTHER = "int8", "float", "other"
MAKES = {
    "QuantizeLinear": INT8,
    "DynamicQuantizeLinear": INT8,
    "DequantizeLinear": FLOAT,
    "MatMulIntegerToFloat": FLOAT,
    "DynamicQuantizeMatMul": FLOAT,
    "DynamicQuantizeLSTM": FLOAT,
    "QAttention": FLOAT,
    "MatMulInteger": OTHER,  # sums of 32 bits
    "ConvInteger": OTHER,
    "Shape": OTHER,
    "Size": OTHER,
}
"""Operators whose answers are not of their first input's kind. QLinear... answer in int8."""


def float_islands(graph: Any, products: AbstractSet[str]) -> int:
    """How many connected parts of a graph compute in float between integer products: something in them reads what came from one, something feeds one.

    Args:
        graph: as the runtime optimised it.
        products: operators that are integer products.
    """
    kinds = {value.name: _float_or_other(value.type.tensor_type.elem_type) for value in graph.input}
    kinds |= {tensor.name: _constant_kind(tensor) for tensor in graph.initializer}
    parts: dict[str, str] = {}
    for node in graph.node:
        kind = _kind(node, kinds)
        kinds |= dict.fromkeys(node.output, kind)
        if kind == FLOAT and not _is_integer(node, products):
            parts |= dict.fromkeys(node.output, node.output[0])
    leaders = _joined(graph.node, parts)
    behind, before = (
        {leaders[name] for name in reached if name in leaders}
        for reached in (_reached(graph.node, products), _reached(reversed(graph.node), products, backwards=True))
    )
    return len(behind & before)


def _constant_kind(tensor: Any) -> str:
    """INT8 for 8 bits, FLOAT for float, OTHER for shapes and indices."""
    import onnx

    types = onnx.TensorProto
    return INT8 if tensor.data_type in (types.INT8, types.UINT8) else _float_or_other(tensor.data_type)


def _float_or_other(element: int) -> str:
    import onnx

    types = onnx.TensorProto
    return FLOAT if element in (types.FLOAT, types.FLOAT16, types.DOUBLE) else OTHER


def _is_integer(node: Any, products: AbstractSet[str]) -> bool:
    return node.op_type in products or node.op_type in CONVERSIONS or node.op_type.startswith("QLinear")


def _kind(node: Any, kinds: dict[str, str]) -> str:
    """What a node makes."""
    if node.op_type in MAKES or node.op_type.startswith("QLinear"):
        return MAKES.get(node.op_type, INT8)
    if node.op_type == "QGemm":
        return INT8 if len(node.input) > OUTPUT_SCALE and node.input[OUTPUT_SCALE] else FLOAT
    if node.op_type == "Cast":
        return _float_or_other(attribute(node, "to"))
    first = next((name for name in node.input if name), None)
    return OTHER if first is None else kinds.get(first, FLOAT)


def _reached(nodes: Iterable[Any], products: AbstractSet[str], *, backwards: bool = False) -> set[str]:
    """First outputs of the nodes that lie behind an integer product (before one, when the order is reversed)."""
    live: set[str] = set()
    found: set[str] = set()
    for node in nodes:
        comes, goes = (node.output, node.input) if backwards else (node.input, node.output)
        if any(name in live for name in comes if name):
            found.add(node.output[0])
        elif node.op_type not in products:
            continue
        live |= {name for name in goes if name}
    return found


def _joined(nodes: Iterable[Any], parts: dict[str, str]) -> dict[str, str]:
    """First outputs of float nodes to one that stands for all that are connected."""
    leader = {first: first for first in parts.values()}

    def find(first: str) -> str:
        while leader[first] != first:
            first = leader[first]
        return first

    for node in nodes:
        if node.output and parts.get(node.output[0]) == node.output[0]:
            for name in node.input:
                if name in parts:
                    leader[find(parts[name])] = find(node.output[0])
    return {first: find(first) for first in leader}
