"""Samples as a training loop takes them: what is learned from, what judges, and batches of equal shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.refuse import TooLarge
from edgeopt.compiler.running import Feed, Feeds

MOST_BYTES = 2 << 30
"""Of samples held in memory."""

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """`train` and `held_out` are samples, each an array by input's name with its batch axis of 1."""

    train: tuple[Feed, ...]
    held_out: tuple[Feed, ...]


def divide(samples: Feeds, held_out: int) -> Data:
    """Read the samples; the first ones judge.

    Raises:
        TooLarge: they do not fit into memory.
    """
    rows: list[Feed] = []
    size = 0
    for feed in samples:
        size += sum(array.nbytes for array in feed.values())
        if size > MOST_BYTES:
            raise TooLarge(
                f"the samples have more than {MOST_BYTES / 2**30:.0f} GiB, and training holds them in memory"
            )
        rows.append(feed)
    return Data(train=tuple(rows[held_out:]), held_out=tuple(rows[:held_out]))


def generator(*seeds: int) -> Any:
    """Random numbers that depend on the seeds alone, so that a run that goes on from a checkpoint draws what it would have drawn."""
    mixed = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) & (2**63 - 1))


def picked(count: int, batch: int, *, step: int, seed: int) -> list[int]:
    """Which samples step number `step` (from 0) sees: each epoch goes through all in an order of its own."""
    chosen: list[int] = []
    at = step * batch
    while len(chosen) < min(batch, count):
        epoch, place = divmod(at + len(chosen), count)
        order = torch.randperm(count, generator=generator(seed, 1, epoch)).tolist()
        chosen += order[place : place + min(batch, count) - len(chosen)]
    return chosen


def groups(feeds: Sequence[Feed], most: int) -> Iterator[tuple[list[int], Tensors]]:
    """Stack samples of equal shapes, at most so many together, in order of their first appearance: (their places among `feeds`, tensors by input's name)."""
    by_shape: dict[Any, list[int]] = {}
    for place, feed in enumerate(feeds):
        by_shape.setdefault(tuple((name, array.shape) for name, array in feed.items()), []).append(place)
    for alike in by_shape.values():
        for start in range(0, len(alike), most):
            places = alike[start : start + most]
            yield places, stacked([feeds[place] for place in places])


def stacked(feeds: Sequence[Feed]) -> Tensors:
    """One tensor by input's name. Inputs without axes are the same for all and given once."""
    return {
        name: torch.from_numpy(np.concatenate([feed[name] for feed in feeds]) if array.ndim else np.array(array))
        for name, array in feeds[0].items()
    }


def size_of(feeds: Mapping[str, Any]) -> int:
    """How many samples a group has."""
    return next((int(tensor.shape[0]) for tensor in feeds.values() if tensor.dim()), 1)
