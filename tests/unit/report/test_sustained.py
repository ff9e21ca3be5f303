"""The lines that say what a board keeps up."""

from __future__ import annotations

import msgspec

from edgeopt.domain.goal import Goal
from edgeopt.domain.sustained import Sustained, Window
from edgeopt.report.sustained import sustained_lines
from tests.builders import make_failure

WINDOWS = tuple(
    Window(end_ns=60_000_000_000 * n, median_ns=1, inferences=9, temperature_c=c) for n, c in ((1, 48.2), (8, 71.0))
)
KEPT = Sustained(candidate="int8@all", ended="flat", burst_ns=4_000_000, sustained_ns=5_000_000, windows=WINDOWS)


def line(goal: Goal | None = None, **changes: object) -> str:
    (said,) = sustained_lines([msgspec.structs.replace(KEPT, **changes)], goal or Goal())
    return said


def test_level_speed_warmth_and_flatness() -> None:
    assert line() == (
        "sustained: int8@all takes 5.000 ms after 8.000 minutes, 80.00 % of the burst's speed, 48 to 71 degrees, flat"
    )
    assert KEPT.retention == 0.8


def test_a_limit_that_does_not_hold_is_said() -> None:
    assert line(Goal(max_latency_p50_ms=4.5)).endswith("over the goal's 4.500 ms")
    assert "over" not in line(Goal(max_latency_p50_ms=5.5))


def test_what_is_not_known_is_said() -> None:
    cold = tuple(msgspec.structs.replace(window, temperature_c=None) for window in WINDOWS)
    said = line(windows=cold, ended="limit", flags=("foreign-load",))
    assert said.endswith("no temperature sensor, not flat yet, it may get slower, disturbed: foreign-load")
    assert line(failure=make_failure(), sustained_ns=None).endswith("failed (signal): killed by SIGILL")
    assert line(sustained_ns=None).endswith("has no level")
    assert msgspec.structs.replace(KEPT, burst_ns=None).retention is None
