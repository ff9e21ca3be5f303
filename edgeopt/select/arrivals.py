"""What a scenario adds to latencies: throughput where inferences run at once, and how many of a schedule had to wait. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.domain.run import Block, MeasurePlan
from edgeopt.select.statistics import median

AT_ONCE = ("multi-stream", "offline")


def throughput(plan: MeasurePlan, clean: Sequence[Block]) -> tuple[float | None, str | None]:
    """Return inferences a second, the median over blocks, or None and the reason. With one stream it would only be the latency again."""
    if plan.scenario not in AT_ONCE:
        return None, f"the scenario is {plan.scenario}, so nothing ran at once"
    rates = [1e9 * block.inferences / block.timed_ns for block in clean if block.inferences and block.timed_ns]
    return (median(rates), None) if rates else (None, "no block that counts tells it")


def late_share(plan: MeasurePlan, clean: Sequence[Block]) -> tuple[float | None, str | None]:
    """Return the share of scheduled inferences that had to wait for the one before, or None and the reason."""
    if plan.scenario != "fixed-rate":
        return None, f"the scenario is {plan.scenario}, so nothing was scheduled"
    late = sum(block.late_starts for block in clean if block.late_starts is not None and block.inferences)
    all_of_them = sum(block.inferences for block in clean if block.late_starts is not None and block.inferences)
    return (late / all_of_them, None) if all_of_them else (None, "no block that counts tells it")
