"""Conv and ConvTranspose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def padding(node: Node, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of each axis, from `pads` or `auto_pad`. `kernel` counts what dilation adds."""
    auto = node.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    rank = len(size)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for length, width, stride in zip(size, kernel, strides, strict=True):
            total = max(0, (math.ceil(length / stride) - 1) * stride + width - length)
            low = total // 2 if auto == "SAME_UPPER" else total - total // 2
            pads.append((low, total - low))
        return pads
    found = list(node.get("pads", [0] * 2 * rank)) if auto == "NOTSET" else [0] * 2 * rank
    return list(zip(found[:rank], found[rank:], strict=True))


def pad(x: Any, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    """Pad the last axes with a constant; torch counts from the last axis on."""
    flat = [side for pair in reversed(pads) for side in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def _conv(node: Node, inputs: Tensors) -> Any:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    rank = x.dim() - 2
    if rank not in _CONV:
        raise node.refuse(f"it has {rank} axes of space")
    strides = list(node.get("strides", [1] * rank))
    dilations = list(node.get("dilations", [1] * rank))
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = padding(node, x.shape[2:], reach, strides)
    even = all(low == high for low, high in pads)
    inner = [low for low, _ in pads] if even else [0] * rank
    x = x if even else pad(x, pads)
    return _CONV[rank](x, weight, bias, strides, inner, dilations, int(node.get("group", 1)))


def _conv_transpose(node: Node, inputs: Tensors) -> Any:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    rank = x.dim() - 2
    if rank not in _TRANSPOSED:
        raise node.refuse(f"it has {rank} axes of space")
    if node.get("output_shape") is not None or node.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET"):
        raise node.refuse("its padding follows from the shape of its output")
    strides = list(node.get("strides", [1] * rank))
    dilations = list(node.get("dilations", [1] * rank))
    more = list(node.get("output_padding", [0] * rank))
    pads = padding(node, x.shape[2:], weight.shape[2:], strides)
    group = int(node.get("group", 1))
    full = _TRANSPOSED[rank](x, weight, bias, strides, 0, 0, group, dilations)
    full = pad(full, [(0, extra) for extra in more])
    if any(more) and bias is not None:
        # What output padding adds is outside of every kernel, and holds the bias alone.
        shape = [1, -1, *[1] * rank]
        plain = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, group, dilations)
        full = pad(plain, [(0, extra) for extra in more]) + bias.reshape(shape)
    cut = tuple(slice(low, length - high) for (low, high), length in zip(pads, full.shape[2:], strict=True))
    return full[(slice(None), slice(None)) + cut]  # noqa: RUF005 - Python 3.10


def _depth_to_space(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    size, (n, c, h, w) = int(node.get("blocksize")), x.shape
    if node.get("mode", b"DCR") in (b"CRD", "CRD"):
        return x.reshape(n, c // size**2, size, size, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, -1, h * size, w * size)
    return x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, -1, h * size, w * size)


def _space_to_depth(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    if node.get("mode", b"DCR") not in (b"DCR", "DCR"):
        raise node.refuse("it orders channels by column and row")
    size, (n, c, h, w) = int(node.get("blocksize")), x.shape
    return (
        x.reshape(n, c, h // size, size, w // size, size)
        .permute(0, 3, 5, 1, 2, 4)
        .reshape(n, c * size**2, h // size, w // size)
    )


def _image_scaler(node: Node, inputs: Tensors) -> Any:
    bias = torch.tensor(node.get("bias"), dtype=inputs[0].dtype, device=inputs[0].device)
    return inputs[0] * float(node.get("scale", 1.0)) + bias.reshape(1, -1, 1, 1)


CONVOLUTION: dict[str, Operator] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "ImageScaler": _image_scaler,
}
