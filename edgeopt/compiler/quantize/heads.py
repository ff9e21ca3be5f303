"""Answers that only float operators read need not be rounded: a 1x1 Conv there becomes a Gemm, whose int8 kernel answers in float. Child side.

    Conv 1x1  ->  Transpose to NHWC, Reshape to a matrix, Gemm, Reshape, Transpose back

The runtime keeps int8 convolutions in NHWC anyway, so the first transpose costs nothing there, and detectors transpose behind their heads themselves. Class scores that are
averaged over positions gain most: rounding them first loses what is smaller than half a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Graph, attribute
from edgeopt.compiler.quantize.placement import Placement

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def answer_in_float(graph: Graph, placement: Placement) -> int:
    """Rewrite the heads that can be; returns how many. Layers and placement must be found anew."""
    import onnx

    done, nodes, moved = 0, [], set()
    for node in graph.graph.node:
        if node.output[0] in moved:
            continue
        activation = placement.activations.get(node.output[0])
        last = node.output[0] if activation is None else activation.out
        if node.op_type == "Conv" and last in placement.heads and _is_pointwise(graph, node):
            nodes += _as_gemm(graph, node, None if activation is None else graph.producer[last], onnx)
            moved.add(last)
            done += 1
        else:
            nodes.append(node)
    if done:
        graph.replace_nodes(nodes)
    return done


def _is_pointwise(graph: Graph, node: Any) -> bool:
    weight, shape = graph.tensors.get(node.input[1]), graph.shape(node.input[0])
    return (
        weight is not None
        and len(weight.dims) == 4
        and tuple(weight.dims[2:]) == (1, 1)
        and attribute(node, "group", 1) == 1
        and not any(attribute(node, "pads", [0]))
        and all(stride == 1 for stride in attribute(node, "strides", [1]))
        and shape is not None
        and None not in shape[1:]
    )


def _as_gemm(graph: Graph, node: Any, activation: Any | None, onnx: Any) -> list[Any]:
    """The nodes that stand for a Conv and the activation behind it, which goes with the Gemm."""
    weight = graph.constant(node.input[1])
    shape = graph.shape(node.input[0])
    if weight is None or shape is None:
        return [node]
    outputs, inputs = weight.shape[:2]
    matrix = graph.add_constant(node.input[1], weight.reshape(outputs, inputs))
    rows = graph.add_constant("rows", np.array([-1, inputs], np.int64))
    image = graph.add_constant("image", np.array([-1, *[axis or 0 for axis in shape[2:]], outputs], np.int64))
    moved, flat, product, back = (graph.fresh(node.output[0]) for _ in range(4))
    make = onnx.helper.make_node
    last, clipped, behind = node.output[0], back, []
    if activation is not None:
        # Behind the Reshape: right behind the Gemm the runtime would fuse the two, in float.
        clipped, last = graph.fresh(product), activation.output[0]
        behind = [make(activation.op_type, [back, *activation.input[1:]], [clipped], name=activation.name)]
    return [
        make("Transpose", [node.input[0]], [moved], perm=TO_NHWC, name=moved),
        make("Reshape", [moved, rows], [flat], name=flat),
        make("Gemm", [flat, matrix, node.input[2]], [product], name=node.name, transB=1),
        make("Reshape", [product, image], [back], name=back),
        *behind,
        make("Transpose", [clipped], [last], perm=TO_NCHW, name=f"{node.name}_nchw"),
    ]
