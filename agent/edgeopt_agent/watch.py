"""What happened to the process of a block while its timed part ran, by the kernel's counters read just before and just after it. The rules below are pure."""

from __future__ import annotations

import resource
import time

from edgeopt_agent.probes import cpu, put, quota
from edgeopt_agent.steady import median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SAME_CLOCK_SHARE = 0.95
"""A clock that was in its usual state for less of the time has moved."""
_SHORTEST_JUDGED_TICKS = 20
"""The kernel counts time in a clock state in units of 10 ms: below 0.2 s one unit is more than the limit."""
_SWITCHES_PER_INFERENCE = 0.1
_STALL_TIMES = 20
_STALL_NS = 100_000_000
"""One inference that took so long, and so many times the median, did not compute: the process was stopped, or the machine under it was."""
_SUSPENDED_NS = 10_000_000


def counters(root: str = "/") -> dict[str, Any]:
    """Read the counters now, of this process with all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    monotonic_ns = time.monotonic_ns()
    return {
        "wall_ns": monotonic_ns,
        "cpu_ns": time.process_time_ns(),
        "suspended_ns": _boot_ns() - monotonic_ns,
        "major_faults": usage.ru_majflt,
        "minor_faults": usage.ru_minflt,
        "involuntary_switches": usage.ru_nivcsw,
        "quota_periods": quota.times_throttled(root),
        "clock_ticks": cpu.time_in_state(root),
    }


def _boot_ns() -> int:
    # CLOCK_BOOTTIME goes on while the machine sleeps, CLOCK_MONOTONIC does not.
    return (
        int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e9) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()
    )


def between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return how the counters grew, and `clock_share`: the share of time that the clock was in its usual state."""
    record: dict[str, Any] = {
        name: after[name] - before[name]
        for name in ("wall_ns", "cpu_ns", "suspended_ns", "major_faults", "minor_faults", "involuntary_switches")
    }
    periods = None
    if before["quota_periods"] is not None and after["quota_periods"] is not None:
        periods = after["quota_periods"] - before["quota_periods"]
    put(record, "quota_periods", periods, "no control group of this process counts them")
    share = clock_share(before["clock_ticks"], after["clock_ticks"])
    put(
        record,
        "clock_share",
        share,
        "the kernel does not count the time in each clock state, or the block was too short",
    )
    return record


def clock_share(before: dict[str, dict[int, int]] | None, after: dict[str, dict[int, int]] | None) -> float | None:
    """Return the share of time in the clock state that was used most; of the group of cores where it is largest, since idle cores slow down and may.

    Args:
        before: {group of cores: {kHz: ticks}}, as `cpu.time_in_state` reads it.
        after: the same, later.

    Returns:
        None where nobody counts, when each core has a clock of its own (threads wander between them), or when too little time went by.
    """
    if not before or not after:
        return None
    shares = []
    for name, last in after.items():
        grown = [ticks - before.get(name, {}).get(khz, 0) for khz, ticks in last.items()]
        if sum(grown) >= _SHORTEST_JUDGED_TICKS:
            shares.append(max(grown) / sum(grown))
    return max(shares, default=None)


def doubts(timed: dict[str, Any], latencies_ns: Sequence[int], period: int = 1) -> list[str]:
    """Say what casts doubt on the timed part.

    Args:
        timed: what `between` returned.
        latencies_ns: the inferences that count, at least one.
        period: after so many inferences the inputs come again.
    """
    share = timed["clock_share"]
    found = {
        "stopped": has_stall(latencies_ns, period) or timed["suspended_ns"] > _SUSPENDED_NS,
        "throttled-by-quota": (timed["quota_periods"] or 0) > 0,
        "frequency-moved": share is not None and share < SAME_CLOCK_SHARE,
        "preempted": timed["involuntary_switches"] > max(1, _SWITCHES_PER_INFERENCE * len(latencies_ns)),
        "major-faults": timed["major_faults"] > 0,
    }
    return [name for name, is_set in found.items() if is_set]


def has_stall(latencies_ns: Sequence[int], period: int) -> bool:
    """Say whether some inference did not compute all the time: it took over 0.1 s, and over 20 times what others of the same input took."""
    if max(latencies_ns) <= _STALL_NS:
        return False
    turns = [latencies_ns[first::period] for first in range(min(period, len(latencies_ns)))]
    return any(max(turn) > max(_STALL_NS, _STALL_TIMES * median(turn)) for turn in turns)
