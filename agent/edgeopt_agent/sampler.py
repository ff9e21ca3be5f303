"""Reads a power sensor again and again, in a thread of low priority, while something else goes on. Nothing of it runs during blocks that time inferences."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

JITTER = 0.2
"""Each pause is up to so much shorter or longer, so that sampling does not fall into step with what it observes."""
_NICENESS = 10


class Sampler:
    """A context: samples are taken from its beginning to its end.

    Args:
        read: returns {rail: value}, without the rails that cannot be read now.
        rails: which rails, in the order of the samples.
        period_s: between two samples, on average.
        clock: monotonic, in ns; the one of the processes whose work is measured.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, float]],
        rails: list[str],
        period_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.samples: list[tuple[int, list[float | None]]] = []
        self._read = read
        self._rails = rails
        self._period_s = period_s
        self._clock = clock
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:  # noqa: PYI034 - Self is not in Python 3.8
        # Taken here: nothing that the caller does now begins before the first sample.
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            # On Linux the priority is the thread's own.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        is_over = False
        while not is_over:
            pause = self._period_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
            is_over = self._end.wait(pause)
            self._take()

    def _take(self) -> None:
        before = self._clock()
        try:
            values = self._read()
        except OSError:
            values = {}
        # The value is of some moment between asking and hearing.
        moment = (before + self._clock()) // 2
        self.samples.append((moment, [_rounded(values.get(rail)) for rail in self._rails]))


def _rounded(value: float | None) -> float | None:
    """Microwatts and microjoules are finer than any sensor, and shorter than all digits of a float."""
    return None if value is None else round(value, 6)
