"""Pooling over height and width."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Array, Network, Node
from edgeopt.compiler.convert.tflite.orders import NHWC
from edgeopt.compiler.convert.tflite.pointwise import activation_of
from edgeopt.compiler.convert.tflite.products import padded
from edgeopt.compiler.convert.tflite.window import Window, window_of

LEAST = -128


def largest(lowering: Lowering, node: Node) -> None:
    """MaxPool. What TFLite's own padding adds never wins, so what is padded beside it must not either."""
    window = _window(lowering.network, node)
    if len([name for name in node.outputs if name]) > 1:
        raise node.refuse("it answers where the largest values lie, too")
    if any(step != 1 for step in window.dilations):
        raise node.refuse("its pooling has no dilations")
    source = node.inputs[0]
    least = LEAST if lowering.quant(source) is not None else float(np.finfo(np.float32).min)
    # XNNPACK pads with 0 only, which is the least there is behind a Relu.
    value = None if _is_positive(lowering, source) else least
    picture, padding = padded(lowering, lowering.read(source, NHWC), window, value)
    lowering.write(node.outputs[0], NHWC, "MAX_POOL_2D", [picture], **_options(lowering, node, window, padding))


def _is_positive(lowering: Lowering, name: str) -> bool:
    """Whether nothing under 0 is known to be in a tensor."""
    quant, maker = lowering.quant(name), lowering.makers.get(name)
    if quant is not None:
        return int(quant.zero[0]) == LEAST
    return maker is not None and (maker.kind in ("Relu", "Relu6", "Sigmoid") or maker.activation in ("RELU", "RELU6"))


def average(lowering: Lowering, node: Node) -> None:
    """AveragePool. TFLite leaves out what its SAME padding adds; any other way of counting is a factor for each place."""
    window = _window(lowering.network, node)
    source, target = node.inputs[0], node.outputs[0]
    wanted = _counts(window, node)
    picture, padding = padded(lowering, lowering.read(source, NHWC), window)
    given = _given(window)
    if np.array_equal(given, wanted):
        lowering.write(target, NHWC, "AVERAGE_POOL_2D", [picture], **_options(lowering, node, window, padding))
        return
    if lowering.quant(source) is not None:
        raise node.refuse("in int8 it cannot count as this one does")
    options = _options(lowering, node, window, padding) | {"fusedActivationFunction": 0}
    shape = (lowering.shape(target)[0], *window.answers, lowering.shape(target)[1])
    made = lowering.make("AVERAGE_POOL_2D", [picture], target, shape, **options)
    factors = lowering.floats((given / wanted)[None, :, :, None])
    lowering.write(target, NHWC, "MUL", [made, factors], fusedActivationFunction=activation_of(lowering, node))


def counts_alike(network: Network, node: Node) -> bool:
    """Whether TFLite's pooling divides as ONNX's does."""
    window = _window(network, node)
    return np.array_equal(_given(window), _counts(window, node))


def _given(window: Window) -> Array:
    """By how many values TFLite divides at each place: its SAME leaves out what it adds."""
    own = window.is_same and not window.is_valid
    return _inside(window) if own else np.full(window.answers, float(np.prod(window.kernel)))


def _window(network: Network, node: Node) -> Window:
    kernel = tuple(int(size) for size in node.attributes["kernel_shape"])
    window = window_of(node, network.shapes[node.inputs[0]][2:], kernel, network.shapes[node.outputs[0]][2:])
    for size, begin, answers, stride in zip(window.sizes, window.before, window.answers, window.strides, strict=True):
        # Rounded up, some versions of ONNX count a window that has nothing under it, others do not.
        if (answers - 1) * stride >= begin + size:
            raise node.refuse("its last window has only padding under it")
    return window


def _options(lowering: Lowering, node: Node, window: Window, padding: int) -> dict[str, Any]:
    return {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "filterHeight": window.kernel[0],
        "filterWidth": window.kernel[1],
        "fusedActivationFunction": activation_of(lowering, node),
    }


def _counts(window: Window, node: Node) -> Array:
    """By how many values ONNX divides at each place."""
    if not int(node.attributes.get("count_include_pad", 0)):
        return _inside(window)
    pads = node.attributes.get("pads") or [0] * 4
    ends = [size + begin + end for size, begin, end in zip(window.sizes, pads[:2], pads[2:], strict=True)]
    return _product([_reach(window, axis, 0, ends[axis]) for axis in (0, 1)])


def _inside(window: Window) -> Array:
    """How many values of the picture itself are under the window at each place."""
    return _product(
        [_reach(window, axis, window.before[axis], window.before[axis] + window.sizes[axis]) for axis in (0, 1)]
    )


def _reach(window: Window, axis: int, low: int, high: int) -> Array:
    """Of each window along an axis, how much lies from `low` to `high`, counted from the padded picture's beginning."""
    begin = np.arange(window.answers[axis]) * window.strides[axis]
    return np.asarray(np.minimum(begin + window.kernel[axis], high) - np.maximum(begin, low), np.float64)


def _product(reach: list[Array]) -> Array:
    return np.asarray(np.outer(*reach))


TABLE: Mapping[str, Lower] = MappingProxyType({"MaxPool": largest, "AveragePool": average})
