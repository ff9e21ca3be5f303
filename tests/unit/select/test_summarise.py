"""Summaries: what counts, what does not, and a reason for everything unknown."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from edgeopt.domain.pick import Summary
from edgeopt.domain.run import Run
from edgeopt.errors import RunUnreadable
from edgeopt.select.blocks import EXCLUDING
from edgeopt.select.summarise import summarise
from tests.builders import NO_SENSOR, make_block, make_blocks, make_candidate, make_check, make_failure, make_fidelity
from tests.builders import make_run as build
from tests.unit.select.strategies import runs


def summary_of(run: Run, variant: str = "int8") -> Summary:
    return next(s for s in summarise(run) if s.variant == variant)


@given(run=runs())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_everything_unknown_has_a_reason(run: Run) -> None:
    for summary in summarise(run):
        unknown = [name for name, value in msgspec.structs.asdict(summary).items() if value is None]
        assert [name for name in unknown if not summary.reasons.get(name)] == []
        assert summary.verdict == "trusted" or summary.reasons["verdict"]


@given(run=runs())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_summaries_stand_in_the_runs_order_and_count_every_block(run: Run) -> None:
    summaries = summarise(run)
    assert [s.candidate for s in summaries] == [c.id for c in run.candidates]
    assert sum(s.blocks for s in summaries) == len(run.blocks)
    assert all(s.flagged_blocks + s.failed_blocks <= s.blocks for s in summaries)


def test_ordinary_candidate_is_trusted_with_all_its_figures() -> None:
    summary = summary_of(build({"original": 10.0, "int8": 5.0}))
    assert summary.verdict == "trusted"
    assert summary.p50_ms == pytest.approx(5.0)
    assert summary.p90_ms == pytest.approx(5.01)
    assert (summary.ratio, summary.ratio_low, summary.ratio_high) == pytest.approx((0.5, 0.5, 0.5))
    assert (summary.load_ms, summary.first_ms, summary.peak_memory_bytes) == pytest.approx((50.0, 20.0, 80_000_000))
    assert (summary.load_low_ms, summary.first_high_ms) == pytest.approx((50.0, 20.0))
    assert (summary.blocks, summary.flagged_blocks, summary.failed_blocks) == (8, 0, 0)
    assert (summary.energy_mj, summary.reasons["energy_mj"]) == (None, NO_SENSOR)


@pytest.mark.parametrize("flag", sorted(EXCLUDING))
def test_disturbed_blocks_are_counted_but_do_not_count(flag: str) -> None:
    levels = [5.0] * 7 + [50.0]
    summary = summary_of(build({"original": 10.0, "int8": levels}, flags={"int8": {7: (flag,)}}))
    assert summary.p50_high_ms == pytest.approx(5.0)
    assert (summary.flagged_blocks, summary.flags) == (1, (flag,))


def test_mostly_disturbed_candidate_is_contaminated() -> None:
    flags = dict.fromkeys(range(6), ("throttled",))
    summary = summary_of(build(flags={"int8": flags}))
    assert summary.verdict == "contaminated"
    assert "6 of 8" in summary.reasons["verdict"]
    assert "throttled" in summary.reasons["verdict"]


def test_failures_are_counted_and_shake_the_trust() -> None:
    summary = summary_of(build(failures={"int8": {3: make_failure()}}))
    assert (summary.blocks, summary.failed_blocks) == (8, 1)
    assert summary.verdict == "inconclusive"
    assert "1 of 8 blocks failed" in summary.reasons["verdict"]


def test_wide_interval_is_not_trusted() -> None:
    summary = summary_of(build({"original": 10.0, "int8": [4, 5, 6, 7, 4.5, 5.5, 6.5, 7.5]}))
    assert summary.verdict == "inconclusive"
    assert "interval" in summary.reasons["verdict"]


def test_few_rounds_give_a_level_but_no_interval() -> None:
    summary = summary_of(build(rounds=5))
    assert summary.p50_ms == pytest.approx(5.0)
    assert (summary.p50_low_ms, summary.ratio_low) == (None, None)
    assert "needs 6 clean blocks, there are 5" in summary.reasons["p50_low_ms"]
    assert summary.verdict == "inconclusive"


def test_a_slow_round_slows_both_and_leaves_the_ratio_alone() -> None:
    drift = [1, 1, 2, 1, 1, 3, 1, 1]
    run = build({"original": [10.0 * d for d in drift], "int8": [5.0 * d for d in drift]})
    summary = summary_of(run)
    assert (summary.ratio_low, summary.ratio_high) == pytest.approx((0.5, 0.5))
    assert summary_of(run, "original").ratio == 1.0


def test_ratio_needs_a_round_that_both_have() -> None:
    blocks = (*make_blocks("original@all", [10.0]), make_block("int8@all", 1))
    summary = summary_of(build(blocks=blocks))
    assert summary.ratio is None
    assert "no round" in summary.reasons["ratio"]


def test_ratio_without_the_original_says_so() -> None:
    assert "original was not measured" in summary_of(build({"int8": 5.0})).reasons["ratio"]


def test_original_with_other_threads_is_not_compared_with() -> None:
    candidates = (make_candidate("original", 1), make_candidate("int8", 4))
    blocks = make_blocks("original@1", [10.0] * 8) + make_blocks("int8@4", [5.0] * 8)
    assert summary_of(build(candidates=candidates, blocks=blocks)).ratio is None


def test_answers_of_the_device_stand_over_the_hosts() -> None:
    run = build(output_checks=(make_check("int8", make_fidelity(0.9, 0.85)),))
    summary = summary_of(run)
    assert (summary.agreement, summary.agreement_lower, summary.agreement_where) == (0.9, 0.85, "device")
    assert summary_of(run, "original").agreement_where == "host"


def test_agreement_without_samples_is_unknown_with_the_reason() -> None:
    summary = summary_of(build(agreements={"int8": None}))
    assert summary.agreement is None
    assert "no samples" in summary.reasons["agreement"]


def test_agreement_that_is_no_top1_has_no_bound() -> None:
    summary = summary_of(build(agreements={"int8": make_fidelity(0.999, None)}))
    assert summary.agreement == 0.999
    assert "top-1" in summary.reasons["agreement_lower"]


def test_memory_is_the_largest_of_all_starts() -> None:
    blocks = tuple(make_block("int8@all", n, peak_rss_bytes=peak) for n, peak in enumerate([3, 9, None, 5]))
    assert summary_of(build({"int8": 5.0}, blocks=blocks)).peak_memory_bytes == 9


def test_p90_from_too_few_inferences_is_refused_with_the_number_needed() -> None:
    blocks = tuple(make_block("int8@all", n) for n in range(8))
    summary = summary_of(build({"int8": 5.0}, blocks=blocks))
    assert summary.p90_ms is None
    assert "46" in summary.reasons["p90_ms"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": ()}, "not timed"),
        ({"blocks": (), "output_checks": (make_check("int8", failure=make_failure(detail="SIGILL")),)}, "SIGILL"),
        ({"failures": {"int8": {n: make_failure(detail="killed") for n in range(8)}}}, "killed"),
        ({"flags": {"int8": dict.fromkeys(range(8), ("throttled",))}}, "8 throttled"),
        ({"blocks": (make_block("int8@all", 0, ()),)}, "1 without times"),
    ],
)
def test_candidate_without_a_clean_block_says_what_happened(changes: dict[str, object], words: str) -> None:
    summary = summary_of(build({"int8": 5.0}, **changes))  # type: ignore[arg-type]
    assert summary.p50_ms is summary.p90_ms is summary.load_ms is None
    assert words in summary.reasons["p50_ms"]


def test_dropped_candidate_is_inconclusive() -> None:
    summary = summary_of(build(dropped_early={"int8@all": "twice as slow"}))
    assert summary.verdict == "inconclusive"
    assert "twice as slow" in summary.reasons["verdict"]


def test_candidate_of_an_unknown_variant_is_a_damaged_run() -> None:
    with pytest.raises(RunUnreadable, match="gone"):
        summarise(build(candidates=(make_candidate("gone"),)))


def test_blocks_of_a_program_that_tells_one_value_have_a_level_and_no_tails() -> None:
    made = build({"original@4": 5.0})
    name = made.candidates[0].id
    blocks = [make_block(name, n, (5.0 + n % 3 / 100,), latencies_are="median") for n in range(30)]
    run = msgspec.structs.replace(made, blocks=tuple(blocks))
    summary = summarise(run)[0]
    assert summary.p50_ms == pytest.approx(5.01, rel=0.01)
    assert summary.p90_ms is summary.p99_ms is None
    assert "one value of a block" in summary.reasons["p90_ms"]
