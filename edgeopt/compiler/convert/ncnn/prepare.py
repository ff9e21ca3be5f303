"""What a graph must look like for `pnnx` to read it right: fixed sizes, float32 at the border, and a few operators in the form that ncnn has. Child side.

Each change keeps the answers; the converted file is compared with the graph in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Graph, attribute
from edgeopt.compiler.quantize.heads import TO_NCHW, TO_NHWC


def prepare(model: Any, shapes: Mapping[str, Sequence[int]]) -> Any:
    """A copy of a float model in that form.

    Args:
        model: an onnx.ModelProto, opset 13 or later.
        shapes: the size of every axis of every input.
    """
    own = type(model)()
    own.CopyFrom(model)
    _fix_sizes(own, shapes)
    _float32_border(own)
    graph = Graph(own)
    _heads_to_convolutions(graph)
    _strides_to_pooling(graph)
    _flat_biases(graph)
    graph.prune()
    return graph.model


def _fix_sizes(model: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    for value in model.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type
            del kind.shape.dim[:]
            for size in shapes[value.name]:
                kind.shape.dim.add().dim_value = size
    # What was inferred for other sizes is no longer true.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _float32_border(model: Any) -> None:
    """Inputs and outputs of float16 become float32: ncnn has no other floats at its border. Casts between them and the rest do nothing then."""
    import onnx

    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    border = {value.name for value in (*model.graph.input, *model.graph.output) if _element(value) == half}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in border:
            value.type.tensor_type.elem_type = single
    for node in model.graph.node:
        if node.op_type == "Cast" and border & {*node.input, *node.output}:
            node.op_type = "Identity"
            del node.attribute[:]


def _element(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _heads_to_convolutions(graph: Graph) -> None:
    """What `quantize.heads` made a Gemm, between transposes, is a 1x1 Conv again: ncnn's answers in float as they are."""
    import onnx

    make = onnx.helper.make_node
    nodes = {id(node): [node] for node in graph.graph.node}
    for node in graph.graph.node:
        found = _head(graph, node) if node.op_type == "Gemm" else None
        weight = graph.constant(node.input[1]) if found is not None else None
        if found is None or weight is None:
            continue
        before, behind = found
        name = graph.add_constant(node.input[1], weight[:, :, None, None])
        product = behind[0].output[0] if len(behind) > 2 else behind[-1].output[0]
        nodes[id(node)] = [make("Conv", [before[0].input[0], name, *node.input[2:]], [product], name=node.name)]
        for activation in behind[1:-1]:
            nodes[id(node)].append(
                make(activation.op_type, activation.input, [behind[-1].output[0]], name=activation.name)
            )
        nodes |= {id(other): [] for other in (*before, *behind)}
    graph.replace_nodes([each for made in nodes.values() for each in made])


_HEADS = (["Reshape", "Transpose"], ["Reshape", "Relu", "Transpose"], ["Reshape", "Clip", "Transpose"])


def _head(graph: Graph, node: Any) -> tuple[list[Any], list[Any]] | None:
    """(Transpose and Reshape before a Gemm, Reshape, at most one activation and Transpose behind it), None where it does not stand between such."""
    flat = graph.producer.get(node.input[0])
    moved = None if flat is None else graph.producer.get(flat.input[0])
    behind: list[Any] = []
    reader = graph.only_consumer(node.output[0])
    while reader is not None and len(behind) < 3:
        behind.append(reader)
        reader = None if reader.op_type == "Transpose" else graph.only_consumer(reader.output[0])
    if flat is None or moved is None or [moved.op_type, flat.op_type] != ["Transpose", "Reshape"]:
        return None
    if [each.op_type for each in behind] not in _HEADS or not attribute(node, "transB", 0):
        return None
    turns = [tuple(attribute(each, "perm", ())) for each in (moved, behind[-1])]
    alone = all(graph.only_consumer(each.output[0]) is not None for each in (moved, flat))
    return ([moved, flat], behind) if turns == [TO_NHWC, TO_NCHW] and alone else None


def _strides_to_pooling(graph: Graph) -> None:
    """A Slice in steps along the last two axes of an image is a plain Slice and a pooling over single pixels: ncnn crops, but not in steps."""
    import onnx

    nodes: list[Any] = []
    for node in graph.graph.node:
        steps = _spatial_steps(graph, node) if node.op_type == "Slice" else None
        if steps is None:
            nodes.append(node)
            continue
        cropped = graph.fresh(node.output[0])
        ones = graph.add_constant(cropped, np.ones(len(steps), np.int64))
        nodes.append(onnx.helper.make_node("Slice", [*node.input[:4], ones], [cropped], name=f"{cropped}_crop"))
        strides = [steps.get(2, 1), steps.get(3, 1)]
        nodes.append(
            onnx.helper.make_node(
                "MaxPool", [cropped], list(node.output), name=cropped, kernel_shape=[1, 1], strides=strides
            )
        )
    graph.replace_nodes(nodes)


def _spatial_steps(graph: Graph, node: Any) -> dict[int, int] | None:
    """{axis: step} of a Slice of an image [N, C, H, W] of floats that steps along H or W; None for any other."""
    if len(node.input) < 5 or graph.rank(node.input[0]) != 4 or not graph.is_float(node.input[0]):
        return None
    axes, steps = graph.constant(node.input[3]), graph.constant(node.input[4])
    if axes is None or steps is None:
        return None
    found = {int(axis) % 4: int(step) for axis, step in zip(axes.reshape(-1), steps.reshape(-1), strict=True)}
    only_spatial = all(step == 1 or (step > 1 and axis >= 2) for axis, step in found.items())
    return found if only_spatial and any(step > 1 for step in found.values()) else None


def _flat_biases(graph: Graph) -> None:
    """The bias of a Gemm as a vector: pnnx makes an inner product of nothing else."""
    for node in graph.graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3:
            continue
        bias, weight = graph.constant(node.input[2]), graph.constant(node.input[1])
        if bias is None or weight is None or (bias.ndim == 1 and bias.size > 1):
            continue
        channels = weight.shape[0 if attribute(node, "transB", 0) else 1]
        if bias.size in (1, channels) and bias.shape[-1:] in ((), (1,), (channels,)):
            flat = np.broadcast_to(bias.reshape(-1), (channels,))
            node.input[2] = graph.add_constant(node.input[2], flat.astype(np.float32))
    graph.index()
