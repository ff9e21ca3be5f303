"""Inputs and outputs that are 8-bit codes, for a runtime that has only floats at its border: the codes travel as floats, and their scales are arithmetic inside. Child side."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Graph

CODES = {2: "uint8", 3: "int8"}
"""Element type of a tensor (onnx.TensorProto.DataType) -> its dtype."""


def float_border(model: Any) -> tuple[Any, dict[str, str]]:
    """A copy in which inputs that are only dequantised, and outputs that a quantiser writes, are float32 and hold the same codes; outputs are not rounded.

    Args:
        model: an onnx.ModelProto. It is not changed.

    Returns:
        The copy, and the dtype that each such input or output had, by name. Others, with scales along an axis too, stay as they are.
    """
    own = type(model)()
    own.CopyFrom(model)
    graph = Graph(own)
    inputs = {value.name for value in own.graph.input if _is_codes(value) and _is_only_dequantised(graph, value.name)}
    outputs = {value.name for value in own.graph.output if _is_codes(value) and _is_quantised(graph, value.name)}
    nodes: list[Any] = []
    for node in own.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in inputs:
            nodes += _dequantised(graph, node)
        elif node.op_type == "QuantizeLinear" and node.output[0] in outputs:
            nodes += _quantised(graph, node)
        else:
            nodes.append(node)
    dtypes = {}
    for value in (*own.graph.input, *own.graph.output):
        if value.name in inputs | outputs:
            dtypes[value.name] = CODES[value.type.tensor_type.elem_type]
            value.type.tensor_type.elem_type = 1
    graph.replace_nodes(nodes)
    return own, dtypes


def _is_codes(value: Any) -> bool:
    return value.type.tensor_type.elem_type in CODES


def _is_only_dequantised(graph: Graph, name: str) -> bool:
    readers = [node for node in graph.graph.node if name in node.input]
    return bool(readers) and all(
        node.op_type == "DequantizeLinear" and _scale(graph, node) is not None for node in readers
    )


def _is_quantised(graph: Graph, name: str) -> bool:
    """A quantiser whose codes nothing else reads."""
    node = graph.producer.get(name)
    is_read = any(name in other.input for other in graph.graph.node)
    return node is not None and node.op_type == "QuantizeLinear" and not is_read and _scale(graph, node) is not None


def _scale(graph: Graph, node: Any) -> tuple[float, Any] | None:
    """(step, zero point as a numpy scalar) of a quantiser for the whole tensor; None for any other."""
    step = graph.constant(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
    if step is None or zero is None or step.size != 1 or zero.size != 1:
        return None
    return float(step.reshape(())), zero.reshape(())[()]


def _dequantised(graph: Graph, node: Any) -> list[Any]:
    import onnx

    step, zero = _scale(graph, node) or (1.0, np.uint8(0))
    shifted = graph.fresh(node.output[0])
    names = [_number(graph, node, value) for value in (float(zero), step)]
    return [
        onnx.helper.make_node("Sub", [node.input[0], names[0]], [shifted], name=f"{shifted}_shift"),
        onnx.helper.make_node("Mul", [shifted, names[1]], list(node.output), name=f"{shifted}_scale"),
    ]


def _quantised(graph: Graph, node: Any) -> list[Any]:
    import onnx

    step, zero = _scale(graph, node) or (1.0, np.uint8(0))
    ends = np.iinfo(zero.dtype)
    scaled, shifted = graph.fresh(node.output[0]), graph.fresh(node.output[0])
    names = [_number(graph, node, value) for value in (1.0 / step, float(zero), float(ends.min), float(ends.max))]
    return [
        onnx.helper.make_node("Mul", [node.input[0], names[0]], [scaled], name=f"{scaled}_scale"),
        onnx.helper.make_node("Add", [scaled, names[1]], [shifted], name=f"{shifted}_shift"),
        onnx.helper.make_node("Clip", [shifted, *names[2:]], list(node.output), name=f"{shifted}_clip"),
    ]


def _number(graph: Graph, node: Any, value: float) -> str:
    return graph.add_constant(node.name or node.output[0], np.asarray(value, np.float32))
