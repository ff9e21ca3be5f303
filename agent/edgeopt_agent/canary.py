"""A fixed piece of work whose time tells how fast the board computes now: the portable detector of throttling, where no sensor and no firmware tells of it.

Whole numbers and branches (zlib), floating point (an exact sum), memory (copies of 1 MiB): all of it in C functions of the standard library, so that it hardly depends on the interpreter.
It is only ever compared with itself, on the same device in the same session.

CPU time is taken, not wall time: a neighbour that takes the core away is foreign load, which is told apart elsewhere, and is no slower board. The shortest of several repetitions
counts, as in `timeit`: interrupts and a clock that is still rising only add. It runs on the fastest core, else a big.LITTLE board would look slow by chance.
"""

from __future__ import annotations

import math
import os
import time
import zlib

from edgeopt_agent.probes import read_number
from edgeopt_agent.steady import median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MIN_REPEATS = 8
_MAX_REPEATS = 40
_PATIENCE = 5
"""As long as the shortest time still falls by 1 % within so many repetitions, the clock may be rising."""
_GAIN = 0.99
_MAX_NS = 400_000_000
REFERENCES = 5
"""A reference is the median of so many."""
SLOWED = 1.10
"""AndroidX's benchmark library calls a device throttled when its own fixed work takes 10 % longer than at first."""


class Canary:
    """The work, ready to be repeated. Holds 2 MiB and a list of numbers only while it lives."""

    def __init__(self) -> None:
        self._bytes = bytes(range(256)) * 64
        self._numbers = [(-1.0) ** number / (number + 1) for number in range(20_000)]
        self._source = bytes(1 << 20)
        self._target = memoryview(bytearray(1 << 20))

    def work(self) -> None:
        """Do it once: about 2 ms on a desktop, 10 ms on a small board."""
        for _ in range(8):
            zlib.compress(self._bytes, 6)
        for _ in range(3):
            math.fsum(self._numbers)
        for _ in range(16):
            self._target[:] = self._source


def run_ns(root: str = "/") -> int:
    """Return the CPU time of the work in ns, on the fastest core that this process may use."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {fastest_core(usable, root)})
    try:
        return shortest(Canary().work, time.thread_time_ns)
    finally:
        os.sched_setaffinity(0, usable)


def shortest(work: Callable[[], object], clock: Callable[[], int]) -> int:
    """Return the shortest time of several repetitions, in the clock's unit: at least 8, and until 5 in a row bring less than 1 %; at most 40 or 0.4 s."""
    times: list[int] = []
    best = spent = 0
    since = 0
    while len(times) < _MAX_REPEATS and spent < _MAX_NS:
        start = clock()
        work()
        times.append(clock() - start)
        spent += times[-1]
        since = 0 if len(times) == 1 or times[-1] < _GAIN * best else since + 1
        best = min(times)
        if len(times) >= _MIN_REPEATS and since >= _PATIENCE:
            break
    return best


def fastest_core(usable: set[int], root: str = "/") -> int:
    """Return the core with the highest capacity, else clock, that the kernel tells of; the one with the highest number among equals (the first ones serve interrupts)."""
    return max(usable, key=lambda core: (_speed(core, root), core))


def _speed(core: int, root: str) -> int:
    folder = f"/sys/devices/system/cpu/cpu{core}"
    return read_number(root, f"{folder}/cpu_capacity") or read_number(root, f"{folder}/cpufreq/cpuinfo_max_freq") or 0


def reference_ns(measure: Callable[[], int] = run_ns) -> int:
    """Return what the canary takes on this board when a session begins: the median of five."""
    return round(median([measure() for _ in range(REFERENCES)]))


def is_slowed(before_ns: int, after_ns: int, reference_ns: int) -> bool:
    """Say whether the board computed slower than at the session's beginning when a block began, or slower when it had ended than when it began."""
    return before_ns > SLOWED * reference_ns or after_ns > SLOWED * before_ns
