"""Channels that must go together: which are one class, and which must stay. Child side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeopt.compiler.quantize.graph import Array


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The axis of a tensor that channels lie on, and the class of each of them (int64 [C])."""

    axis: int
    classes: Array


class Union:
    """Sets of channels that grow together (union-find). A locked set must stay."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._locked: list[bool] = []

    def fresh(self, count: int, *, locked: bool = False) -> Array:
        """New channels, each a set of its own; int64 [count]."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self._locked.extend([locked] * count)
        return np.arange(first, first + count)

    def find(self, channel: int) -> int:
        """The channel that stands for the whole set."""
        root = channel
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[channel] != root:
            self._parent[channel], channel = root, self._parent[channel]
        return root

    def join(self, left: Array, right: Array) -> None:
        """Make one set of each pair."""
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            a, b = self.find(one), self.find(other)
            if a != b:
                low, high = min(a, b), max(a, b)
                self._parent[high] = low
                self._locked[low] = self._locked[low] or self._locked[high]

    def lock(self, channels: Array) -> None:
        """They stay, and all that goes with them."""
        for channel in channels.tolist():
            self._locked[self.find(channel)] = True

    def resolved(self, channels: Array) -> Array:
        """The channels that stand for their sets."""
        return np.array([self.find(channel) for channel in channels.tolist()], np.int64)

    def is_locked(self, channel: int) -> bool:
        """Whether its set must stay."""
        return self._locked[self.find(channel)]
