"""What picks values by place or by condition."""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given, numbers


def _gather(node: Node, inputs: Tensors) -> Any:
    x, index = inputs
    axis = int(node.get("axis", 0)) % x.dim()
    index = index.long()
    index = torch.where(index < 0, index + x.shape[axis], index)
    if axis == 0 and x.dim() == 2 and x.is_floating_point():
        return torch.nn.functional.embedding(index, x)
    taken = x.index_select(axis, index.reshape(-1))
    return taken.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _gather_elements(node: Node, inputs: Tensors) -> Any:
    x, index = inputs
    axis = int(node.get("axis", 0)) % x.dim()
    index = index.long()
    return torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))


def _gather_nd(node: Node, inputs: Tensors) -> Any:
    x, index = inputs[0], inputs[1].long()
    if int(node.get("batch_dims", 0)):
        raise node.refuse("it has axes of a batch")
    return x[tuple(index.unbind(-1))]


def _slice(node: Node, inputs: Tensors) -> Any:
    x = inputs[0]
    if len(inputs) == 1:
        starts, ends = list(node.get("starts")), list(node.get("ends"))
        axes, steps = list(node.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = numbers(inputs[1]), numbers(inputs[2])
        axes = list(range(len(starts))) if given(inputs, 3) is None else numbers(inputs[3])
        steps = [1] * len(starts) if given(inputs, 4) is None else numbers(inputs[4])
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _cut(x, axis % x.dim(), start, end, step)
    return x


def _cut(x: Any, axis: int, start: int, end: int, step: int) -> Any:
    length = x.shape[axis]
    places = range(length)[slice(start, _end(end, length, step), step)]
    if step > 0:
        return (
            x.narrow(axis, places.start, len(places))
            if step == 1
            else x[(slice(None),) * axis + (slice(places.start, places.stop, step),)]
        )
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))


def _end(end: int, length: int, step: int) -> int | None:
    """Backwards, an end before the first place means that the first place is included."""
    return None if step < 0 and end < -length else end


def _where(_node: Node, inputs: Tensors) -> Any:
    return torch.where(*inputs)


def _scatter_elements(node: Node, inputs: Tensors) -> Any:
    x, index, updates = inputs
    if node.get("reduction", b"none") not in (b"none", "none"):
        raise node.refuse("it reduces what falls on one place")
    axis = int(node.get("axis", 0)) % x.dim()
    index = index.long()
    return x.scatter(axis, torch.where(index < 0, index + x.shape[axis], index), updates)


def _scatter_nd(node: Node, inputs: Tensors) -> Any:
    x, index, updates = inputs
    if node.get("reduction", b"none") not in (b"none", "none"):
        raise node.refuse("it reduces what falls on one place")
    return x.index_put(tuple(index.long().unbind(-1)), updates)


def _trilu(node: Node, inputs: Tensors) -> Any:
    offset = given(inputs, 1)
    function = torch.triu if node.get("upper", 1) else torch.tril
    return function(inputs[0], 0 if offset is None else int(offset.item()))


def _cumsum(node: Node, inputs: Tensors) -> Any:
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise node.refuse("it is exclusive or runs backwards")
    return torch.cumsum(inputs[0], int(inputs[1].item()), dtype=inputs[0].dtype)


def _top_k(node: Node, inputs: Tensors) -> Any:
    count = int(inputs[1].item()) if given(inputs, 1) is not None else int(node.get("k"))
    return tuple(torch.topk(inputs[0], count, int(node.get("axis", -1)), bool(node.get("largest", 1)), sorted=True))


def _one_hot(node: Node, inputs: Tensors) -> Any:
    index, depth, values = inputs
    axis, count = int(node.get("axis", -1)), int(depth.reshape(-1)[0].item())
    hot = torch.nn.functional.one_hot(index.long() % count, count)
    hot = hot.movedim(-1, axis) if axis != -1 else hot
    return torch.where(hot.bool(), values[1], values[0])


SELECT: dict[str, Operator] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Slice": _slice,
    "Where": _where,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Trilu": _trilu,
    "CumSum": _cumsum,
    "TopK": _top_k,
    "OneHot": _one_hot,
}
