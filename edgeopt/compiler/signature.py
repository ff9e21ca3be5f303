"""Reading the shapes of inputs and outputs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.domain.model import TensorSpec

Axis = int | str | None


def shape_words(spec: TensorSpec) -> str:
    """`[?, 1000]` for people."""
    if spec.shape is None:
        return "unknown"
    return "[" + ", ".join("?" if axis is None else str(axis) for axis in spec.shape) + "]"


def said(output: TensorSpec) -> str:
    """Name and shape, for a reason."""
    return f"its output {output.name!r} is {shape_words(output)}"


def axis(spec: TensorSpec, place: int) -> int | None:
    """The size of an axis, None when it is open or not there."""
    if spec.shape is None or not -len(spec.shape) <= place < len(spec.shape):
        return None
    size = spec.shape[place]
    return size if isinstance(size, int) else None


def sides(inputs: Sequence[TensorSpec]) -> tuple[Axis, ...] | None:
    """(height, width) of the first picture among the inputs, [N, C, H, W] or [N, H, W, C]; None when there is none."""
    for spec in inputs:
        if spec.shape is not None and len(spec.shape) == 4:
            last = spec.shape[-1]
            return spec.shape[1:3] if isinstance(last, int) and last <= 4 else spec.shape[2:]
    return None


def takes_tokens(inputs: Sequence[TensorSpec]) -> bool:
    """Tell whether it takes numbers of tokens, [N, T]."""
    return any(spec.dtype.startswith("int") and spec.shape is not None and len(spec.shape) == 2 for spec in inputs)
