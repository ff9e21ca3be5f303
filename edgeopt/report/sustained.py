"""What a board keeps up, a line for each candidate that was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeopt.domain.goal import Goal
from edgeopt.domain.sustained import Sustained
from edgeopt.report.cells import figure, percent


def sustained_lines(found: Sequence[Sustained], goal: Goal) -> Iterator[str]:
    """Yield the sustained level, how much of the burst's speed is left, how warm it got, and whether the goal's median still holds."""
    for one in found:
        yield f"sustained: {one.candidate} {_said(one, goal)}"


def _said(one: Sustained, goal: Goal) -> str:
    retention = one.retention
    if one.failure is not None:
        return f"failed ({one.failure.kind}): {one.failure.detail}"
    if one.sustained_ns is None or retention is None or not one.windows:
        return "has no level"
    level = one.sustained_ns / 1e6
    minutes = one.windows[-1].end_ns / 60e9
    warmth = [window.temperature_c for window in one.windows if window.temperature_c is not None]
    limit = goal.max_latency_p50_ms
    parts = (
        f"takes {figure(level)} ms after {figure(minutes)} minutes, {percent(retention)} % of the burst's speed",
        f"{warmth[0]:.0f} to {warmth[-1]:.0f} degrees" if warmth else "no temperature sensor",
        "flat" if one.ended == "flat" else "not flat yet, it may get slower",
        None if limit is None or level <= limit else f"over the goal's {figure(limit)} ms",
        f"disturbed: {', '.join(one.flags)}" if one.flags else None,
    )
    return ", ".join(part for part in parts if part)
