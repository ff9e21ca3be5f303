"""Values as short text. Unknown is `-`, never 0; what came from a device or a file cannot steer the terminal."""

from __future__ import annotations

import math

UNKNOWN = "-"


def safe(text: object) -> str:
    """Return `text` on one line, without control characters (escape sequences, bidirectional overrides, lone surrogates)."""
    spaced = (" " if char.isspace() else char for char in str(text))
    return "".join(char for char in spaced if char.isprintable())


def megabytes(count: int | None) -> str:
    """Return bytes as MB (10^6)."""
    if count is None:
        return UNKNOWN
    value = count / 1e6
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def figure(value: float | None) -> str:
    """Return a number with four significant digits and no exponent."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    return f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    """Return `low..high`, nothing when there is none."""
    return "" if low is None or high is None else f"{figure(low)}..{figure(high)}"


def at_least(share: float | None) -> str:
    """Return a lower bound in %, nothing when there is none."""
    return "" if share is None else f">={percent(share)}"


def percent(share: float | None) -> str:
    """Return a share in %, cut, not rounded: 99.996 % is not 100 %."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    # 0.9999 * 10000 is a hair below 9999 in binary.
    return f"{math.floor(share * 10_000 + 1e-6) / 100:.2f}"


def times(ratio: float | None) -> str:
    """Return how many times as fast a ratio of durations is: 0.5 is `2.00x`."""
    return UNKNOWN if not ratio else f"{1 / ratio:.2f}x"
