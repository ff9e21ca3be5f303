"""What a board keeps up after its burst."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeopt.domain.failure import Failure


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """About ten seconds back to back: when they ended, their median and how many inferences they had; the warmest sensor then, None without one."""

    end_ns: int
    median_ns: int
    inferences: int
    temperature_c: float | None = None


class Sustained(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate back to back until the temperature was flat, or a cap.

    `burst_ns` is the first window's median, `sustained_ns` that of the last minute, None after a `failure`. `retention` is burst over sustained: 1 keeps its speed, 0.8 has lost a fifth of it.
    """

    candidate: str
    ended: Literal["flat", "limit"] | None = None
    burst_ns: int | None = None
    sustained_ns: int | None = None
    windows: tuple[Window, ...] = ()
    flags: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def retention(self) -> float | None:
        """Burst over sustained; None when one of them is not known."""
        return self.burst_ns / self.sustained_ns if self.burst_ns and self.sustained_ns else None
