"""Convolutions, pooling and resizing: what goes over height and width."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeopt.compiler.convert.from_tflite.dilation import PADS
from edgeopt.compiler.convert.from_tflite.importing import Import, Importing, picture
from edgeopt.compiler.convert.from_tflite.lite import LiteOperator
from edgeopt.compiler.convert.tflite.network import Array, Shape
from edgeopt.compiler.convert.tflite.orders import NCHW

SAME = 0
"""The schema's Padding."""


def convolution(importing: Importing, operator: LiteOperator) -> None:
    """Weights [O, H, W, I] become [O, I, H, W]; fewer input channels than the picture has mean groups."""
    weight = importing.value(operator, 1).transpose(0, 3, 1, 2)
    channels = importing.shape(operator.inputs[0])[3]
    _convolve(importing, operator, weight, channels // weight.shape[1])


def depthwise(importing: Importing, operator: LiteOperator) -> None:
    """Weights [1, H, W, O] become [O, 1, H, W]."""
    weight = importing.value(operator, 1).transpose(3, 0, 1, 2)
    _convolve(importing, operator, weight, importing.shape(operator.inputs[0])[3])


def _convolve(importing: Importing, operator: LiteOperator, weight: Array, group: int) -> None:
    options = operator.options
    dilations = [int(options["dilationHFactor"]), int(options["dilationWFactor"])]
    inputs = [picture(importing, operator), importing.constant(weight), *_bias(importing, operator, 2)]
    attributes = _window(importing, operator, weight.shape[2:], dilations) | {"dilations": dilations, "group": group}
    importing.answer(operator, NCHW, importing.node("Conv", inputs, **attributes))


def _bias(importing: Importing, operator: LiteOperator, place: int) -> list[str]:
    if len(operator.inputs) <= place or operator.inputs[place] < 0:
        return []
    return [importing.constant(importing.value(operator, place).astype(np.float32))]


def _window(importing: Importing, operator: LiteOperator, kernel: Shape, dilations: list[int]) -> dict[str, Any]:
    options = operator.options
    strides = [int(options["strideH"]), int(options["strideW"])]
    sizes = importing.shape(operator.inputs[0])[1:3]
    totals = [0, 0]
    if options["padding"] == SAME:
        totals = [_same(n, k, s, d) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    pads = list(options.get(PADS) or (*(total // 2 for total in totals), *(total - total // 2 for total in totals)))
    return {"kernel_shape": list(kernel), "strides": strides, "pads": pads}


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """What SAME adds along one axis (tensorflow/lite/kernels/padding.h)."""
    return max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)


def transposed(importing: Importing, operator: LiteOperator) -> None:
    """TRANSPOSE_CONV: (size of the answer, weights [O, H, W, I], picture, bias)."""
    weight = importing.value(operator, 1).transpose(3, 0, 1, 2)
    strides = [int(operator.options["strideH"]), int(operator.options["strideW"])]
    answer, sizes = importing.shape(operator.outputs[0])[1:3], importing.shape(operator.inputs[2])[1:3]
    pads, more = [], []
    for n, k, s, a in zip(sizes, weight.shape[2:], strides, answer, strict=True):
        cut = (n - 1) * s + k - a
        begin = max(cut, 0) // 2 if operator.options["padding"] == SAME else 0
        pads.append((begin, max(cut, 0) - begin))
        more.append(max(-cut, 0))
    inputs = [picture(importing, operator, 2), importing.constant(weight), *_bias(importing, operator, 3)]
    flat = [pair[0] for pair in pads] + [pair[1] for pair in pads]
    made = importing.node(
        "ConvTranspose", inputs, strides=strides, pads=flat, output_padding=more, kernel_shape=list(weight.shape[2:])
    )
    importing.answer(operator, NCHW, made)


def pooling(importing: Importing, operator: LiteOperator) -> None:
    """Means are of what is inside of the picture."""
    kind = "MaxPool" if operator.kind == "MAX_POOL_2D" else "AveragePool"
    kernel = (int(operator.options["filterHeight"]), int(operator.options["filterWidth"]))
    made = importing.node(kind, [picture(importing, operator)], **_window(importing, operator, kernel, [1, 1]))
    importing.answer(operator, NCHW, made, computed=kind == "AveragePool")


def resizing(importing: Importing, operator: LiteOperator) -> None:
    """Its three ways of counting pixels are three of ONNX's."""
    options, nearest = operator.options, operator.kind == "RESIZE_NEAREST_NEIGHBOR"
    align, half = bool(options.get("alignCorners")), bool(options.get("halfPixelCenters"))
    mode = "align_corners" if align else "half_pixel" if half else "asymmetric"
    batch, height, width, channels = importing.shape(operator.outputs[0])
    attributes: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": mode}
    if nearest:
        # floor((x + 0.5) scale) is round(x') of half pixels; ties go up (tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h).
        attributes |= {"mode": "nearest", "nearest_mode": "round_prefer_ceil" if align or half else "floor"}
    sizes = importing.ints([batch, channels, height, width])
    made = importing.node("Resize", [picture(importing, operator), "", "", sizes], **attributes)
    importing.answer(operator, NCHW, made, computed=False)


def blocks(importing: Importing, operator: LiteOperator) -> None:
    """Channels to places and back."""
    kind = "DepthToSpace" if operator.kind == "DEPTH_TO_SPACE" else "SpaceToDepth"
    made = importing.node(kind, [picture(importing, operator)], blocksize=int(operator.options["blockSize"]))
    importing.answer(operator, NCHW, made, computed=False)


TABLE: Mapping[str, Import] = MappingProxyType(
    {
        "CONV_2D": convolution,
        "DEPTHWISE_CONV_2D": depthwise,
        "TRANSPOSE_CONV": transposed,
        "MAX_POOL_2D": pooling,
        "AVERAGE_POOL_2D": pooling,
        "RESIZE_BILINEAR": resizing,
        "RESIZE_NEAREST_NEIGHBOR": resizing,
        "DEPTH_TO_SPACE": blocks,
        "SPACE_TO_DEPTH": blocks,
    }
)
