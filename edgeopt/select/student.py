"""Student's t distribution for whole degrees of freedom, without a library."""

from __future__ import annotations

import math
from functools import lru_cache

_HALVINGS = 200


def t_cdf(value: float, freedom: int) -> float:
    """Return P(T <= value) for `freedom` >= 1 degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4: finite sums, exact)."""
    angle = math.atan(value / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = term if not odd or freedom > 1 else 0.0
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + inside / 2


@lru_cache(maxsize=512)
def t_quantile(share: float, freedom: int) -> float:
    """Return the value below which `share` (0.5 to 1) of the distribution lies, by bisection.

    Raises:
        ValueError: `share` is not at least 0.5 and below 1.
    """
    if not 0.5 <= share < 1:
        msg = f"no quantile at {share}"
        raise ValueError(msg)
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < share:
        low, high = high, high * 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, freedom) < share else (low, middle)
    return high
