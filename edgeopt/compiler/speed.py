"""How fast this computer multiplies, told in a few milliseconds by a matrix product."""

from __future__ import annotations

import time

from edgeopt.compiler.estimate import REFERENCE_SPEED

SIZE = 256
TRIES = 50
"""Of a seventh of a millisecond each: among so many some are undisturbed even on a computer that has other work on every core."""
REFERENCE_PRODUCT = 1.25e11
"""Multiplications in a second of the same product on the computer that `estimate` has its constants from."""


def host_speed() -> float:
    """Multiplications in a second, in networks: the best of a few tries, because a busy computer only ever seems slower."""
    import numpy as np

    ones = np.ones((SIZE, SIZE), np.float32)
    product = np.empty_like(ones)
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        np.matmul(ones, ones, out=product)
        best = min(best, time.perf_counter() - started)
    return REFERENCE_SPEED * SIZE**3 / best / REFERENCE_PRODUCT
