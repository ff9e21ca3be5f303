"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.operators.convolution import pad, padding
from edgeopt.compiler.train.operators.node import Node, Operator, Tensors

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _frame(node: Node, x: Any) -> tuple[list[int], list[int], list[int], list[tuple[int, int]]]:
    """(kernel, strides, dilations, pads); what `ceil_mode` reaches over is padded at the end."""
    kernel = list(node.get("kernel_shape"))
    rank = len(kernel)
    strides, dilations = list(node.get("strides", [1] * rank)), list(node.get("dilations", [1] * rank))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = padding(node, x.shape[2:], reach, strides)
    if node.get("ceil_mode", 0):
        pads = [_reached(*args) for args in zip(x.shape[2:], reach, strides, pads, strict=True)]
    return kernel, strides, dilations, pads


def _reached(size: int, reach: int, stride: int, pads: tuple[int, int]) -> tuple[int, int]:
    low, high = pads
    steps = math.ceil((size + low + high - reach) / stride)
    if steps * stride >= size + low:
        # A window that would begin behind the picture does not count.
        steps -= 1
    return low, max(high, steps * stride + reach - size - low)


def _max(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refuse("it also answers where its maxima lie")
    kernel, strides, dilations, pads = _frame(node, x)
    return _MAX[len(kernel)](pad(x, pads, -math.inf), kernel, strides, 0, dilations)


def _average(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    kernel, strides, dilations, pads = _frame(node, x)
    if any(d != 1 for d in dilations):
        raise node.refuse("it is dilated")
    pool = _AVERAGE[len(kernel)]
    padded = pool(pad(x, pads), kernel, strides)
    if not any(side for pair in pads for side in pair):
        return padded
    return padded / pool(_counted(node, x, pads), kernel, strides)


def _counted(node: Node, x: Any, pads: Sequence[tuple[int, int]]) -> Any:
    """1 where a position counts in the average: the picture, and its declared padding where `count_include_pad` says so; what `ceil_mode` reaches over never does."""
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if not node.get("count_include_pad", 0):
        return pad(ones, pads)
    kernel = list(node.get("kernel_shape"))
    declared = padding(node, x.shape[2:], kernel, list(node.get("strides", [1] * len(kernel))))
    beyond = [(0, high - said) for (_, high), (_, said) in zip(pads, declared, strict=True)]
    return pad(pad(ones, declared, 1.0), beyond)


def _global_average(_node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def _global_max(_node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


POOLS: dict[str, Operator] = {
    "MaxPool": _max,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
