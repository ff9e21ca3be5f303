"""What moves values about, makes shapes and constants, or changes types."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given, listed, numbers

_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
"""By the numbers of ONNX's TensorProto.DataType."""


def from_numpy(array: Any) -> Any:
    """A tensor of its own memory."""
    return torch.from_numpy(np.array(array, order="C", copy=True))


def _constant(node: Node, _inputs: Tensors) -> Any:
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if node.get(name) is not None:
            return from_numpy(np.asarray(node.get(name), dtype))
    if node.get("value") is None:
        raise node.refuse("its value is no array of numbers")
    return from_numpy(node.get("value"))


def _constant_of_shape(node: Node, inputs: Tensors) -> Any:
    value = node.get("value")
    fill = from_numpy(np.zeros(1, np.float32) if value is None else value)
    return fill.reshape(()).repeat(*numbers(inputs[0])) if inputs[0].numel() else fill.reshape(())


def _shape(node: Node, inputs: Tensors) -> Any:
    shape = list(inputs[0].shape)
    end = node.get("end")
    return torch.tensor(shape[int(node.get("start", 0)) : None if end is None else int(end)], dtype=torch.int64)


def _size(_node: Node, inputs: Tensors) -> Any:
    return torch.tensor(inputs[0].numel(), dtype=torch.int64)


def _reshape(node: Node, inputs: Tensors) -> Any:
    x, target = inputs[0], listed(node, inputs, 1, "shape") or []
    if not node.get("allowzero", 0):
        target = [x.shape[axis] if length == 0 else length for axis, length in enumerate(target)]
    if node.running is not None and target and x.dim() and x.shape[0] == node.running and target[0] == node.batch:
        # A constant that says how large the batch is that the graph was written for.
        target[0] = node.running
    return x.reshape(target)


def _flatten(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    axis = int(node.get("axis", 1))
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), -1) if x.numel() else x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def _transpose(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    return x.permute(*node.get("perm", list(range(x.dim()))[::-1])) if x.dim() else x


def _squeeze(node: Node, inputs: Tensors) -> Any:
    axes = listed(node, inputs, 1, "axes")
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(axes))


def _unsqueeze(node: Node, inputs: Tensors) -> Any:
    x, axes = inputs[0], listed(node, inputs, 1, "axes") or []
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node, inputs: Tensors) -> Any:
    return torch.cat(list(inputs), int(node.get("axis", 1)))


def _split(node: Node, inputs: Tensors) -> Any:
    x, axis = inputs[0], int(node.get("axis", 0))
    sizes = listed(node, inputs, 1, "split")
    if sizes is None:
        # As many parts as outputs; the last is smaller where they do not divide.
        part = -(-x.shape[axis] // len(node.outputs))
        return torch.split(x, part, axis)
    return torch.split(x, sizes, axis)


def _expand(node: Node, inputs: Tensors) -> Any:
    x, target = inputs[0], numbers(inputs[1])
    if node.running is not None and target and target[0] == node.batch and x.dim() < len(target):
        target[0] = node.running
    return x.expand(torch.broadcast_shapes(x.shape, target))


def _tile(_node: Node, inputs: Tensors) -> Any:
    return inputs[0].repeat(*numbers(inputs[1]))


def _identity(_node: Node, inputs: Tensors) -> Any:
    return inputs[0]


def _cast(node: Node, inputs: Tensors) -> Any:
    to = int(node.get("to"))
    if to not in _TYPES:
        raise node.refuse(f"it casts to a type that torch has not (number {to})")
    return inputs[0].to(_TYPES[to])


def _cast_like(_node: Node, inputs: Tensors) -> Any:
    return inputs[0].to(inputs[1].dtype)


def _range(_node: Node, inputs: Tensors) -> Any:
    start, limit, delta = (value.item() for value in inputs)
    return torch.arange(start, limit, delta, dtype=inputs[0].dtype)


def _pad(node: Node, inputs: Tensors) -> Any:
    x = inputs[0]
    pads = listed(node, inputs, 1, "pads" if node.get("pads") is not None else "paddings") or []
    value = given(inputs, 2)
    fill = float(node.get("value", 0.0)) if value is None else value.item()
    axes = given(inputs, 3)
    chosen = [int(axis) % x.dim() for axis in numbers(axes)] if axes is not None else list(range(x.dim()))
    sides = dict(zip(chosen, zip(pads[: len(chosen)], pads[len(chosen) :], strict=True), strict=True))
    mode = node.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "constant":
        flat = [side for axis in reversed(range(x.dim())) for side in sides.get(axis, (0, 0))]
        return torch.nn.functional.pad(x, flat, value=fill)
    for axis, (low, high) in sides.items():
        x = x.index_select(axis, _mirrored(x.shape[axis], low, high, mode, node).to(x.device))
    return x


def _mirrored(length: int, low: int, high: int, mode: str, node: Node) -> Any:
    """Where each position of a padded axis comes from. ONNX's modes have numpy's names."""
    if mode == "reflect":
        return torch.from_numpy(np.pad(np.arange(length), (low, high), mode="reflect"))
    if mode == "edge":
        return torch.from_numpy(np.pad(np.arange(length), (low, high), mode="edge"))
    if mode == "wrap":
        return torch.from_numpy(np.pad(np.arange(length), (low, high), mode="wrap"))
    raise node.refuse(f"its mode {mode!r} is not known")


LAYOUT: dict[str, Operator] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Expand": _expand,
    "Tile": _tile,
    "Identity": _identity,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Range": _range,
    "Pad": _pad,
}
