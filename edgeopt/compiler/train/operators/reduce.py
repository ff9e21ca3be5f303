"""Reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, listed


def _reduction(function: Callable[[Any, tuple[int, ...], bool], Any]) -> Operator:
    def apply(node: Node, inputs: Tensors) -> Any:
        x = inputs[0]
        axes = listed(node, inputs, 1, "axes")
        if not axes and node.get("noop_with_empty_axes", 0):
            return x
        chosen = tuple(axis % x.dim() for axis in axes) if axes else tuple(range(x.dim()))
        return function(x, chosen, bool(node.get("keepdims", 1)))

    return apply


def _mean(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.mean(axes, keepdim=keep)


def _sum(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.sum(axes, keepdim=keep)


def _max(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.amax(axes, keepdim=keep)


def _min(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.amin(axes, keepdim=keep)


def _l1(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.abs().sum(axes, keepdim=keep)


def _l2(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.pow(2).sum(axes, keepdim=keep).sqrt()


def _squares(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return x.pow(2).sum(axes, keepdim=keep)


def _log_sum_exp(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return torch.logsumexp(x, axes, keepdim=keep)


def _prod(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(function: Callable[..., Any]) -> Operator:
    def apply(node: Node, inputs: Tensors) -> Any:
        if node.get("select_last_index", 0):
            raise node.refuse("it asks for the last of several equal values")
        return function(inputs[0], int(node.get("axis", 0)), bool(node.get("keepdims", 1)))

    return apply


REDUCE: dict[str, Operator] = {
    "ReduceMean": _reduction(_mean),
    "ReduceSum": _reduction(_sum),
    "ReduceMax": _reduction(_max),
    "ReduceMin": _reduction(_min),
    "ReduceL1": _reduction(_l1),
    "ReduceL2": _reduction(_l2),
    "ReduceSumSquare": _reduction(_squares),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceProd": _reduction(_prod),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
}
