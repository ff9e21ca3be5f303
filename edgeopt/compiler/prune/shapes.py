"""Where channels lie behind a Reshape: merged with their neighbours, taken apart into heads, or simply moved. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

Dims = Sequence[int | None]


class Split(NamedTuple):
    """Channels become `parts` runs of neighbours, on axis `axis`; those of a run can only go together. `repeat`: each is there so often."""

    axis: int
    parts: int
    repeat: int


def reshaped(before: Dims, after: Dims, axis: int) -> Split | None:
    """How a Reshape from `before` to `after` treats the channels on `axis`; None where they are mixed with axes in front of them, or sizes are not known.

    Open axes in front of the channels (batch, sequence) do not matter: channels and what lies behind them are the last entries of both.
    """
    channels = before[axis]
    behind = _known(before[axis + 1 :])
    if channels is None or behind is None:
        return None
    start = _start(before, after, axis)
    tail = None if start is None else _known(after[start:])
    if start is None or tail is None or prod(tail) != channels * prod(behind):
        return None
    if tail[0] >= channels and tail[0] % channels == 0:
        return Split(axis=start, parts=channels, repeat=tail[0] // channels)
    if channels % tail[0] == 0 and tail[0] > 1:
        return Split(axis=start, parts=tail[0], repeat=1)
    return None


def _start(before: Dims, after: Dims, axis: int) -> int | None:
    """The axis of `after` at which the channels begin: with as many axes before it as in `before`, or after axes of one entry."""
    behind = _known(before[axis:])
    if behind is None:
        return None
    total = prod(behind)
    for start in range(len(after)):
        tail = _known(after[start:])
        if tail is not None and prod(tail) == total and tail[0] != 1:
            return start
    return None


def _known(dims: Dims) -> list[int] | None:
    known = [dim for dim in dims if dim is not None]
    return known if len(known) == len(dims) else None
