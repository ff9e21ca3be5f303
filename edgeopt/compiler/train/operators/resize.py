"""Resize and Upsample: a weighted sum of source places on each axis, so that every mode and coordinate rule is a small matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given, numbers


def _word(node: Node, name: str, default: str) -> str:
    value = node.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _resize(node: Node, inputs: Tensors) -> Any:
    x = inputs[0]
    if node.op == "Upsample" or len(inputs) == 2:
        scales, sizes = given(inputs, 1), None
    else:
        scales, sizes = given(inputs, 2), given(inputs, 3)
    factors = numbers(scales) if scales is not None and scales.numel() else node.get("scales")
    target = [int(size) for size in numbers(sizes)] if sizes is not None and sizes.numel() else None
    axes = list(node.get("axes", range(x.dim())))
    if node.get("antialias", 0) or _word(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("it antialiases, or keeps the aspect ratio")
    for position, axis in enumerate(axes):
        length = x.shape[axis]
        new = target[position] if target is not None else math.floor(length * factors[position])
        scale = new / length if target is not None else float(factors[position])
        if new == length and scale == 1.0:
            continue
        if axis == 0 and target is not None and node.batch == new:
            # The size of a batch that the graph was written for.
            continue
        x = _along(node, x, axis, new, scale)
    return x


def _along(node: Node, x: Any, axis: int, new: int, scale: float) -> Any:
    length = x.shape[axis]
    where = _coordinates(node, np.arange(new, dtype=np.float64), length, new, scale)
    mode = _word(node, "mode", "nearest")
    if mode == "nearest":
        index = torch.from_numpy(np.clip(_nearest(node, where), 0, length - 1).astype(np.int64))
        return x.index_select(axis, index.to(x.device))
    weights = torch.from_numpy(_weights(node, where, length, mode)).to(dtype=x.dtype, device=x.device)
    return torch.tensordot(x, weights, dims=([axis], [1])).movedim(-1, axis)


def _coordinates(node: Node, at: Any, length: int, new: int, scale: float) -> Any:
    """Where each new place lies among the old ones, by the rules of ONNX."""
    default = "asymmetric" if node.op == "Upsample" or node.opset < 11 else "half_pixel"
    rule = _word(node, "coordinate_transformation_mode", default)
    if rule == "asymmetric":
        return at / scale
    if rule == "align_corners":
        return at * (length - 1) / (new - 1) if new > 1 else np.zeros(1)
    if rule == "pytorch_half_pixel" and new == 1:
        return np.zeros(1)
    if rule == "half_pixel_symmetric":
        centre = length / 2 * (1 - new / (scale * length))
        return centre + (at + 0.5) / scale - 0.5
    if rule in ("half_pixel", "pytorch_half_pixel"):
        return (at + 0.5) / scale - 0.5
    raise node.refuse(f"its coordinates follow {rule!r}")


def _nearest(node: Node, where: Any) -> Any:
    default = "floor" if node.op == "Upsample" or node.opset < 11 else "round_prefer_floor"
    rule = _word(node, "nearest_mode", default)
    if rule == "floor":
        return np.floor(where)
    if rule == "ceil":
        return np.ceil(where)
    return np.floor(where + 0.5) if rule == "round_prefer_ceil" else np.ceil(where - 0.5)


def _weights(node: Node, where: Any, length: int, mode: str) -> Any:
    """[new, old] float32: what each new value takes from the old ones."""
    matrix = np.zeros((len(where), length), np.float32)
    first = np.floor(where).astype(np.int64)
    taps = _taps(node, where - first, mode)
    for offset, weight in taps:
        np.add.at(matrix, (np.arange(len(where)), np.clip(first + offset, 0, length - 1)), weight)
    return matrix


def _taps(node: Node, share: Any, mode: str) -> Sequence[tuple[int, Any]]:
    if mode == "linear":
        return [(0, 1 - share), (1, share)]
    if mode != "cubic" or node.get("exclude_outside", 0):
        raise node.refuse(f"its mode is {mode!r}")
    a = float(node.get("cubic_coeff_a", -0.75))
    return [(offset, _cubic(np.abs(share - offset), a)) for offset in (-1, 0, 1, 2)]


def _cubic(t: Any, a: float) -> Any:
    """Keys, *Cubic convolution interpolation for digital image processing*, IEEE TASSP 1981."""
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


RESIZE: dict[str, Operator] = {"Resize": _resize, "Upsample": _resize}
