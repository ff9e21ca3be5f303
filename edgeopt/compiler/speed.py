"""How fast this computer multiplies, told in a few milliseconds by a matrix product."""

from __future__ import annotations

import time

from edgeopt.compiler.estimate import REFERENCE_SPEED

SIZE = 512
TRIES = 5
REFERENCE_PRODUCT = 1.4e11
"""Multiplications in a second of the same product on the computer that `estimate` has its constants from."""


def host_speed() -> float:
    """Multiplications in a second, in networks: the best of a few tries, because a busy computer only ever seems slower."""
    import numpy as np

    ones = np.ones((SIZE, SIZE), np.float32)
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        ones @ ones
        best = min(best, time.perf_counter() - started)
    return REFERENCE_SPEED * SIZE**3 / best / REFERENCE_PRODUCT
