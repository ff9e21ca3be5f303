"""int8 for ncnn: the codes and scales of our calibration, written into the files that `pnnx` made of the float network. Pure.

ncnn's integers are symmetric: code = round(scale * value), -127 to 127, one scale for each output channel of the weights, one for the layer's input; sums become float again, or
at once the codes that the next layer reads (src/layer/convolution.cpp, `forward_int8`; tools/quantize/ncnn2int8.cpp, `fuse_requantize`). Zero points go into weights and biases (`shift`).
What stands between layers is float, and so is at least as exact as our QDQ file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeopt.compiler.convert.ncnn.files import Array, Layer, Weights
from edgeopt.compiler.convert.ncnn.shift import LEVELS, Codes, Weighted, codes_for, shift

_SCALES = "8"
_FEATURES = "31"
_NO_WINOGRAD = 1 << 6
"""Bit of a layer's feature mask (src/net.cpp, `get_masked_option`). ncnn's Winograd kernels in int8 want weights of 6 bits (tools/quantize/ncnn2table.cpp); ours have 8."""

_TERMS = {"Convolution": 2, "ConvolutionDepthWise": 1, "InnerProduct": 2}
"""The value of the parameter with a scale for each channel; 100 more where codes come out."""

_BIAS_TERM = {"Convolution": "5", "ConvolutionDepthWise": "5", "InnerProduct": "1"}
_CODES_OUT = 100


@dataclass(frozen=True, kw_only=True)
class Product:
    """A layer of the calibrated network: its weights as their codes dequantise (float32, [O, ...]), the scale of each output channel, and the range of its input, which contains 0."""

    weight: Array
    steps: Array
    low: float
    high: float


def write_int8(
    layers: list[Layer], weights: Sequence[Weights], products: Sequence[Product]
) -> tuple[int, list[Weights]]:
    """Make every layer whose weights are a product's an int8 one.

    Args:
        layers: of the .param file; changed in place, and there may be more of them afterwards.
        weights: of each layer, from the .bin file.
        products: of the calibrated network.

    Returns:
        (how many were found, the weights of each layer).
    """
    waiting: dict[bytes, list[Product]] = {}
    for product in products:
        waiting.setdefault(np.ascontiguousarray(product.weight, "<f4").tobytes(), []).append(product)
    known: dict[str, Weighted] = {}
    codes: dict[str, Codes] = {}
    kept = {layer.name: each for layer, each in zip(layers, weights, strict=True)}
    for layer in layers:
        values = kept[layer.name].values
        if values is None or layer.kind not in _TERMS:
            continue
        same = waiting.get(values.tobytes())
        quantised = _quantised(layer, same.pop(0)) if same else None
        if quantised is not None:
            codes[layer.name], rows, steps = quantised
        else:
            rows, steps = values.reshape(layer.number(0), -1).copy(), np.ones(layer.number(0), np.float32)
        known[layer.name] = Weighted(rows=rows, steps=steps, bias=_bias(layer, kept[layer.name]))
    shift(layers, known, codes)
    for layer in layers:
        if layer.name in codes:
            kept[layer.name] = _written(layer, known[layer.name], codes[layer.name], _codes_out(layer, layers, codes))
        elif layer.name in known:
            kept[layer.name] = Weights(values=known[layer.name].rows.reshape(-1), rest=known[layer.name].bias.tobytes())
    return len(codes), [kept.get(layer.name, Weights(values=None, rest=b"")) for layer in layers]


def _bias(layer: Layer, weights: Weights) -> Array:
    """The bias, which a layer without one gets."""
    if weights.rest:
        return np.array(np.frombuffer(weights.rest, "<f4"), np.float32)
    layer.parameters[_BIAS_TERM[layer.kind]] = "1"
    return np.zeros(layer.number(0), np.float32)


def _quantised(layer: Layer, product: Product) -> tuple[Codes, Array, Array] | None:
    """How its input is coded, the codes of its weights as rows, their steps; None where ncnn cannot: a grouped convolution has one scale for each group."""
    channels = len(product.steps)
    if layer.kind == "ConvolutionDepthWise" and layer.number(7, 1) != channels:
        return None
    rows = np.rint(product.weight.reshape(channels, -1) / product.steps[:, None])
    if np.abs(rows).max(initial=0) > LEVELS or product.low >= product.high:
        return None
    return codes_for(product.low, product.high), rows.astype(np.int8), product.steps


def _codes_out(layer: Layer, layers: Sequence[Layer], codes: Mapping[str, Codes]) -> Array | None:
    """The scale of the codes that a convolution gives on: all that reads it are int8 convolutions with one scale between them; None when it answers in float."""
    if layer.kind == "InnerProduct":
        return None
    scales = []
    for reader in _readers(layer.tops[0], layers):
        if reader.name not in codes or reader.kind == "InnerProduct":
            return None
        scales.append(codes[reader.name].scale)
    return np.array(scales[:1], "<f4") if len(set(scales)) == 1 else None


def _readers(blob: str, layers: Sequence[Layer]) -> list[Layer]:
    """Who reads a blob, through the Splits that ncnn has between one maker and several readers. A model's output has none."""
    readers: list[Layer] = []
    for layer in layers:
        if blob in layer.bottoms:
            if layer.kind != "Split":
                readers.append(layer)
                continue
            for copy in layer.tops:
                behind = _readers(copy, layers)
                # A copy that nothing reads is an output, which is float.
                readers += behind or [layer]
    return readers


def _written(layer: Layer, product: Weighted, codes: Codes, out: Array | None) -> Weights:
    term = _TERMS[layer.kind] + (0 if out is None else _CODES_OUT)
    layer.parameters[_SCALES] = str(term)
    if _is_plain_3x3(layer):
        layer.parameters[_FEATURES] = str(_NO_WINOGRAD)
    scales = [(1.0 / product.steps).astype("<f4"), np.array([codes.scale], "<f4"), *([] if out is None else [out])]
    rest = b"".join(array.tobytes() for array in (product.bias, *scales))
    return Weights(values=product.rows.reshape(-1), rest=rest)


def _is_plain_3x3(layer: Layer) -> bool:
    """Whether ncnn may choose Winograd for it."""
    width, height = layer.number(1), layer.number(11, layer.number(1))
    strides = {layer.number(3, 1), layer.number(13, layer.number(3, 1))}
    dilations = {layer.number(2, 1), layer.number(12, layer.number(2, 1))}
    return layer.kind == "Convolution" and (width, height) == (3, 3) and strides == dilations == {1}
