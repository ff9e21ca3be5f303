"""Time limits as objects that are handed down, instead of numbers that every layer counts down anew."""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadline:
    """A point in monotonic time, `seconds` after it was made or last renewed.

    One kind of limit serves both uses: never renewed it bounds an operation as a whole; renewed whenever something moved it finds a standstill.

    Args:
        seconds: how long it lasts, in seconds.
        clock: monotonic seconds; tests give their own.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def renew(self) -> None:
        """Something moved: the whole time is there again."""
        self._end = self._clock() + self.seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._end - self._clock())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining <= 0.0
