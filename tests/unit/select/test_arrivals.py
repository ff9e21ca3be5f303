"""What a scenario adds: throughput where several run at once, waiting where there is a schedule, a reason elsewhere."""

from __future__ import annotations

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.arrivals import late_share, throughput
from edgeopt.select.summarise import summarise
from tests.builders import make_block, make_run

OFFLINE, PACED = MeasurePlan(scenario="offline"), MeasurePlan(scenario="fixed-rate", rate_hz=10)


def test_throughput_is_the_median_over_blocks() -> None:
    blocks = [make_block("x", inferences=count, timed_ns=2_000_000_000) for count in (100, 300, 200)]
    assert throughput(OFFLINE, [*blocks, make_block("x")]) == (100.0, None)


def test_late_starts_are_counted_over_all_blocks() -> None:
    blocks = [make_block("x", inferences=100, late_starts=late) for late in (10, 0, None)]
    assert late_share(PACED, blocks) == (0.05, None)


def test_other_scenarios_and_older_records_have_a_reason() -> None:
    for rule, plan in ((throughput, OFFLINE), (late_share, PACED)):
        assert rule(plan, [make_block("x")]) == (None, "no block that counts tells it")
        assert "single-stream" in (rule(MeasurePlan(), [])[1] or "")


def test_a_summary_has_them_or_says_why_not() -> None:
    summary = summarise(make_run())[0]
    assert summary.throughput is None
    assert {"throughput", "late_share"} <= summary.reasons.keys()
    blocks = tuple(make_block("original@all", n, inferences=10, timed_ns=10**9) for n in range(8))
    offline = summarise(make_run({"original": 10.0}, blocks=blocks, plan=OFFLINE))[0]
    assert offline.throughput == 10
    assert "throughput" not in offline.reasons
