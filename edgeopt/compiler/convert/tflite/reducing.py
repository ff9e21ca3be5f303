"""Operators along axes: sums and means, the largest, softmax, local responses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Node
from edgeopt.compiler.convert.tflite.orders import NHWC, Order, without

REDUCTIONS = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
}


def reduce(lowering: Lowering, node: Node) -> None:
    """Along some axes, which stay as 1 or go."""
    source, target = node.inputs[0], node.outputs[0]
    rank, order = lowering.rank(source), lowering.order(source)
    axes = axes_of(lowering, node)
    keep = bool(node.attributes.get("keepdims", 1))
    if not axes:
        lowering.forms[target] = {order: lowering.read(source, order)}
        return
    places = [order.index(axis % rank) for axis in axes]
    after = order if keep else without(order, {axis % rank for axis in axes})
    lowering.write(
        target,
        after,
        REDUCTIONS[node.kind],
        [lowering.read(source, order), lowering.ints(sorted(places))],
        keepDims=keep,
    )


def axes_of(lowering: Lowering, node: Node) -> list[int]:
    """Given as an attribute or an input; none are all, or none where it says so."""
    axes = node.attributes.get("axes")
    axes = lowering.numbers(node, 1) if axes is None else list(axes)
    if axes:
        return axes
    return [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(lowering.rank(node.inputs[0])))


def softmax(lowering: Lowering, node: Node) -> None:
    """Over one axis, which must lie last; before opset 13 over all from that axis on."""
    source, target = node.inputs[0], node.outputs[0]
    shape, rank = lowering.shape(source), lowering.rank(source)
    old = lowering.network.opset < 13
    axis = int(node.attributes.get("axis", 1 if old else -1)) % rank
    kind, options = ("SOFTMAX", {"beta": 1.0}) if node.kind == "Softmax" else ("LOG_SOFTMAX", {})
    if old and any(size != 1 for size in shape[axis + 1 :]):
        rows = (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
        data = lowering.reshape(lowering.read(source, tuple(range(rank))), rows)
        lowering.put(
            target, tuple(range(rank)), lowering.reshape(lowering.make(kind, [data], target, rows, **options), shape)
        )
        return
    order = _last(lowering.order(source), axis)
    lowering.write(target, order, kind, [lowering.read(source, order)], **options)


def _last(order: Order, axis: int) -> Order:
    """An order with an axis at its end."""
    return order if order[-1] == axis else (*(a for a in order if a != axis), axis)


def largest_place(lowering: Lowering, node: Node) -> None:
    """ArgMax and ArgMin; of equal ones the first."""
    source, target = node.inputs[0], node.outputs[0]
    if int(node.attributes.get("select_last_index", 0)):
        raise node.refuse("it takes the first of equal values")
    order = lowering.order(source)
    axis = int(node.attributes.get("axis", 0)) % len(order)
    keep = bool(node.attributes.get("keepdims", 1))
    place = lowering.file.constant("numbers", np.asarray(order.index(axis), np.int32))
    kind = "ARG_MAX" if node.kind == "ArgMax" else "ARG_MIN"
    data = lowering.read(source, order)
    shape = tuple(size for number, size in enumerate(lowering.file.shape(data)) if number != order.index(axis))
    types = lowering.file.schema.TensorType
    made = lowering.make(kind, [data, place], target, shape, outputType=types.INT64)
    after = order if keep else without(order, {axis})
    wanted = tuple(lowering.shape(target)[each] for each in after)
    lowering.put(target, after, lowering.reshape(made, wanted))


def local_response(lowering: Lowering, node: Node) -> None:
    """LRN across channels: ONNX divides alpha by the size, TFLite does not."""
    size = int(node.attributes["size"])
    if size % 2 == 0:
        raise node.refuse("its window is of odd size")
    options = {
        "radius": size // 2,
        "bias": float(node.attributes.get("bias", 1.0)),
        "alpha": float(node.attributes.get("alpha", 1e-4)) / size,
        "beta": float(node.attributes.get("beta", 0.75)),
    }
    lowering.write(
        node.outputs[0], NHWC, "LOCAL_RESPONSE_NORMALIZATION", [lowering.read(node.inputs[0], NHWC)], **options
    )


TABLE: Mapping[str, Lower] = MappingProxyType(
    dict.fromkeys(REDUCTIONS, reduce)
    | {
        "Softmax": softmax,
        "LogSoftmax": softmax,
        "ArgMax": largest_place,
        "ArgMin": largest_place,
        "LRN": local_response,
    }
)
