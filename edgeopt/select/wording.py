"""Numbers in sentences. Plain ASCII, because the sentences are stored and printed everywhere. 1 MB is 1,000,000 bytes."""

from __future__ import annotations

BYTES_PER_MB = 1e6


def number(value: float) -> str:
    """Return four significant digits, never an exponent."""
    return (
        f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1e-4 or value == 0 else f"{value:f}"
    )


def ms(value: float) -> str:
    """Return milliseconds."""
    return f"{number(value)} ms"


def megabytes(size_bytes: float) -> str:
    """Return megabytes."""
    return f"{number(size_bytes / BYTES_PER_MB)} MB"


def percent(share: float) -> str:
    """Return a share of 1 in percent with two digits."""
    return f"{share * 100:.2f} %"


def interval(low: float | None, high: float | None) -> str:
    """Return ` [low .. high]` with its leading space, nothing when there is no interval."""
    return "" if low is None or high is None else f" [{number(low)} .. {number(high)}]"
