"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Array, Node, Quant
from edgeopt.compiler.convert.tflite.orders import NHWC, plain
from edgeopt.compiler.convert.tflite.pointwise import activation_of
from edgeopt.compiler.convert.tflite.window import Window, window_of

BIAS_LIMIT = (1 << 31) - 1

LEAST_STEP = 2.0**-31
"""Input times weight over output scale: XNNPACK takes no multiplier under 2^-32."""


def convolution(lowering: Lowering, node: Node) -> None:
    """Conv over height and width; a depthwise one has an operator of its own."""
    source, target = node.inputs[0], node.outputs[0]
    weight, quant = _weight(lowering, node)
    group = int(node.attributes.get("group", 1))
    window = window_of(node, lowering.shape(source)[2:], weight.shape[2:], lowering.shape(target)[2:])
    picture, padding = padded(lowering, lowering.read(source, NHWC), window)
    options = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": activation_of(lowering, node),
    }
    bias = _bias(lowering, node, weight.shape[0], quant)
    if group > 1 and weight.shape[1] == 1:
        kernel = _kernel(lowering, node, weight.transpose(1, 2, 3, 0), quant, 3)
        lowering.write(
            target,
            NHWC,
            "DEPTHWISE_CONV_2D",
            [picture, kernel, bias],
            depthMultiplier=weight.shape[0] // group,
            **options,
        )
    else:
        kernel = _kernel(lowering, node, weight.transpose(0, 2, 3, 1), quant)
        lowering.write(target, NHWC, "CONV_2D", [picture, kernel, bias], **options)


def padded(lowering: Lowering, picture: int, window: Window, value: float | None = None) -> tuple[int, int]:
    """The picture, and the schema's number for how it is padded: by the operator itself where it can. `value` is put there instead of 0."""
    names = lowering.file.schema.Padding
    if window.is_valid:
        return picture, int(names.VALID)
    if window.is_same:
        return picture, int(names.SAME)
    pairs = [(0, 0), *zip(window.before, window.after, strict=True), (0, 0)]
    shape = tuple(size + sum(pair) for size, pair in zip(lowering.file.shape(picture), pairs, strict=True))
    if value is None:
        return lowering.make("PAD", [picture, lowering.table(pairs)], picture, shape), int(names.VALID)
    filler = lowering.file.constant(
        "filler", np.asarray([value], lowering.file.dtype(picture)), lowering.file.quant(picture)
    )
    return lowering.make("PADV2", [picture, lowering.table(pairs), filler], picture, shape), int(names.VALID)


def transposed_convolution(lowering: Lowering, node: Node) -> None:
    """ConvTranspose: by TFLite's paddings where they are the same, else whole and cut out of."""
    source, target = node.inputs[0], node.outputs[0]
    weight, quant = _weight(lowering, node)
    if int(node.attributes.get("group", 1)) != 1 or any(d != 1 for d in node.attributes.get("dilations", [1])):
        raise node.refuse("its transposed convolution has neither groups nor dilations")
    size, answer = lowering.shape(source)[2:], lowering.shape(target)[2:]
    strides = tuple(node.attributes.get("strides", (1, 1)))
    whole = tuple((n - 1) * s + k for n, s, k in zip(size, strides, weight.shape[2:], strict=True))
    before = _cut_before(node, whole, answer)
    if any(b + a > w for b, a, w in zip(before, answer, whole, strict=True)):
        raise node.refuse("it answers beyond what its windows reach (output_padding)")
    names = lowering.file.schema.Padding
    same = all(
        a == n * s and (w - a) // 2 == b and w >= a
        for a, n, s, w, b in zip(answer, size, strides, whole, before, strict=True)
    )
    batch, channels = lowering.shape(target)[:2]
    made = answer if same else whole
    kernel = _kernel(lowering, node, weight.transpose(1, 2, 3, 0), quant)
    inputs = [
        lowering.ints([batch, *made, channels]),
        kernel,
        lowering.read(source, NHWC),
        _bias(lowering, node, channels, quant),
    ]
    options = {"padding": int(names.SAME if same else names.VALID), "strideH": strides[0], "strideW": strides[1]}
    result = lowering.make("TRANSPOSE_CONV", inputs, target, (batch, *made, channels), **options)
    if made != answer:
        result = lowering.make(
            "SLICE",
            [result, lowering.ints([0, *before, 0]), lowering.ints([batch, *answer, channels])],
            target,
            (batch, *answer, channels),
        )
    lowering.put(target, NHWC, result)


def _cut_before(node: Node, whole: tuple[int, ...], answer: tuple[int, ...]) -> tuple[int, ...]:
    auto = bytes(node.attributes.get("auto_pad", b"NOTSET"))
    totals = [max(w - a, 0) for w, a in zip(whole, answer, strict=True)]
    if auto in (b"SAME_UPPER", b"SAME_LOWER") or "output_shape" in node.attributes:
        return tuple((total + (auto == b"SAME_LOWER")) // 2 for total in totals)
    pads = node.attributes.get("pads") or [0, 0, 0, 0]
    return tuple(pads[:2])


def _weight(lowering: Lowering, node: Node) -> tuple[Array, Quant | None]:
    """The weights as they are stored; with their scales where they are int8."""
    name = node.inputs[1]
    found, quant = lowering.network.constants.get(name), lowering.quant(name)
    if found is None:
        raise node.refuse("its weights depend on the model's inputs")
    source, answer = lowering.quant(node.inputs[0]), lowering.quant(node.outputs[0])
    if quant is None or source is None or answer is None:
        return found, quant
    # A channel that is all but 0 may have a scale that the kernels' multipliers do not reach down to; in a larger one its weights are 0.
    least = LEAST_STEP * float(answer.scale[0]) / float(source.scale[0])
    scale = np.maximum(quant.scale.astype(np.float64), least)
    shape = [1] * found.ndim
    shape[quant.axis] = -1
    codes = np.rint(found * (quant.scale / scale).reshape(shape if scale.size > 1 else [1] * found.ndim))
    return codes.astype(np.int8), Quant(scale=scale.astype(np.float32), zero=quant.zero, axis=quant.axis)


def _kernel(lowering: Lowering, node: Node, value: Array, quant: Quant | None, axis: int = 0) -> int:
    """Weights as a constant; `axis` is where output channels lie now."""
    moved = None if quant is None else Quant(scale=quant.scale, zero=quant.zero, axis=axis)
    return lowering.file.constant(node.inputs[1], value, moved)


def _bias(lowering: Lowering, node: Node, channels: int, weight: Quant | None) -> int:
    """One number for each output channel; int32 in units of input times weight scale where the product is int8."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    value = lowering.value(name) if name else np.zeros(channels, np.float32)
    if value is None:
        raise node.refuse("its bias depends on the model's inputs")
    flat = np.broadcast_to(value.reshape(-1), (channels,))
    source = lowering.quant(node.inputs[0])
    if source is None or weight is None:
        return lowering.file.constant(name or "bias", np.asarray(flat, np.float32))
    unit = np.asarray(weight.scale, np.float64) * float(source.scale[0])
    codes = np.clip(np.rint(flat / unit), -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    return lowering.file.constant(name or "bias", codes, Quant(scale=unit, zero=np.zeros(len(unit)), axis=0))


def dense(lowering: Lowering, node: Node) -> None:
    """`Dense` (see `rewrite`): a product by a constant matrix [O, K] over the last axis, with a bias.

    In int8 as a 1x1 convolution: every runtime has a scale for each output channel there, FULLY_CONNECTED has so only in new ones. With int8 weights on float rows
    the runtime finds ranges while it runs: of the picture in a convolution, of each row in FULLY_CONNECTED, which is worth the newer runtime where rows never had one range.
    """
    source, target = node.inputs[0], node.outputs[0]
    rank = lowering.rank(source)
    order = lowering.order(source) if lowering.order(source)[-1] == rank - 1 else plain(rank)
    weight, quant = _weight(lowering, node)
    if source in lowering.columns:
        weight = weight[:, lowering.columns[source]]
    data = lowering.read(source, order)
    rows, bias = lowering.file.shape(data)[:-1], _bias(lowering, node, len(weight), quant)
    activation = activation_of(lowering, node)
    if quant is None or _has_a_range_each(lowering, source, int(np.prod(rows))):
        inputs = [data, _kernel(lowering, node, weight, quant), bias]
        lowering.write(
            target, order, "FULLY_CONNECTED", inputs, keepNumDims=rank != 2, fusedActivationFunction=activation
        )
        return
    count = int(np.prod(rows))
    picture = lowering.reshape(data, (1, 1, count, weight.shape[1]))
    inputs = [picture, _kernel(lowering, node, weight[:, None, None, :], quant), bias]
    options = {"padding": int(lowering.file.schema.Padding.VALID), **dict.fromkeys(("strideH", "strideW"), 1)}
    options |= {"dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": activation}
    made = lowering.make("CONV_2D", inputs, target, (1, 1, count, len(weight)), **options)
    lowering.put(target, order, lowering.reshape(made, (*rows, len(weight))))


def _has_a_range_each(lowering: Lowering, source: str, rows: int) -> bool:
    """Whether rows are float, several, and were not codes of one scale before."""
    maker = lowering.makers.get(source)
    return lowering.quant(source) is None and rows > 1 and (maker is None or maker.kind != "DequantizeLinear")


def matrix_product(lowering: Lowering, node: Node) -> None:
    """MatMul of two tensors that are computed, each of two axes or more."""
    target = node.outputs[0]
    ranks = [lowering.rank(name) for name in node.inputs]
    if min(ranks) < 2:
        raise node.refuse("its matrix product takes no vectors")
    operands, swapped = zip(*(_operand(lowering, name) for name in node.inputs), strict=True)
    lowering.write(target, plain(lowering.rank(target)), "BATCH_MATMUL", operands, adjX=swapped[0], adjY=swapped[1])


def _operand(lowering: Lowering, name: str) -> tuple[int, bool]:
    """A factor, and whether its last two axes lie the other way round."""
    rank = lowering.rank(name)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    if lowering.order(name) == swapped:
        return lowering.read(name, swapped), True
    return lowering.read(name, plain(rank)), False


TABLE: Mapping[str, Lower] = MappingProxyType(
    {
        "Conv": convolution,
        "ConvTranspose": transposed_convolution,
        "Dense": dense,
        "MatMul": matrix_product,
    }
)
