"""Time stamps. Durations are measured with the monotonic clock; the wall clock is only ever a label, and may be wrong on a board without a battery."""

from __future__ import annotations

import time

_PLAUSIBLE_FROM_UNIX_S = 1_735_689_600
"""2025-01-01: this code did not exist before it."""


def unix_s() -> float:
    """Return what the wall clock says, in seconds since 1970."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def utc_text(seconds: float) -> str:
    """Return a wall clock time as text, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def utc_now() -> str:
    """Return the wall clock time as text."""
    return utc_text(unix_s())


def is_plausible(seconds: float) -> bool:
    """Say whether a wall clock time can be right. A Raspberry Pi without network starts in 1970 or at its last shutdown."""
    return seconds >= _PLAUSIBLE_FROM_UNIX_S


def boot_id() -> str | None:
    """Return the kernel's name for this boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read(64).strip() or None
    except (OSError, ValueError):
        return None
