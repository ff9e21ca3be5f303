"""A float16 graph as the same graph in float32, its signature unchanged. Child side.

int8 is calibrated in float32: float16 has no kernels on most CPUs, and its rounding would be mistaken for the quantiser's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.graph_walk import walk_graphs


def widen(model: Any) -> bool:
    """Change `model` in place; False when there is no float16 in it."""
    inside = [_widen_graph(graph, is_body=depth > 0) for graph, depth in walk_graphs(model)]
    before, after = _input_casts(model.graph), _output_casts(model.graph)
    if before or after:
        nodes = [*before, *(_copy(node) for node in model.graph.node), *after]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    found = bool(before or after or any(inside))
    if found:
        del model.graph.value_info[:]
    return found


def _widen_graph(graph: Any, *, is_body: bool) -> bool:
    tensors = [_widen_tensor(tensor) for tensor in getattr(graph, "initializer", ())]
    nodes = [_widen_node(node) for node in graph.node]
    values = [_widen_value(value) for value in (*graph.input, *graph.output)] if is_body and _has_types(graph) else []
    return any(tensors) or any(nodes) or any(values)


def _has_types(graph: Any) -> bool:
    """Functions name their inputs, graphs describe them."""
    return hasattr(graph, "initializer")


def _widen_node(node: Any) -> bool:
    import onnx

    found = False
    for attribute in node.attribute:
        if attribute.HasField("t"):
            found = _widen_tensor(attribute.t) or found
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT16:
            attribute.i, found = onnx.TensorProto.FLOAT, True
    return found


def _widen_tensor(tensor: Any) -> bool:
    import onnx

    if tensor.data_type != onnx.TensorProto.FLOAT16:
        return False
    wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    return True


def _widen_value(value: Any) -> bool:
    import onnx

    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT16:
        return False
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return True


def _input_casts(graph: Any) -> list[Any]:
    """Casts behind float16 inputs; an initialiser that is also listed as an input just changes its type."""
    import onnx

    constants = {tensor.name for tensor in graph.initializer}
    casts = []
    for value in graph.input:
        if value.name in constants:
            _widen_value(value)
        elif value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            wide = f"{value.name}_float32"
            _rename(graph, value.name, wide, outputs=False)
            casts.append(onnx.helper.make_node("Cast", [value.name], [wide], name=wide, to=onnx.TensorProto.FLOAT))
    return casts


def _output_casts(graph: Any) -> list[Any]:
    import onnx

    casts = []
    for value in graph.output:
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            wide = f"{value.name}_float32_out"
            _rename(graph, value.name, wide, outputs=True)
            casts.append(onnx.helper.make_node("Cast", [wide], [value.name], name=wide, to=onnx.TensorProto.FLOAT16))
    return casts


def _rename(graph: Any, old: str, new: str, *, outputs: bool) -> None:
    for node in graph.node:
        for names in (node.input, node.output) if outputs else (node.input,):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new


def _copy(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy
