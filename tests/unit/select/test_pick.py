"""The choice: nothing that breaks a limit, and a sentence for everyone else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Pick, Summary
from edgeopt.domain.run import MeasurePlan, Run, SamplesInfo
from edgeopt.select.blocks import accepting_disturbed
from edgeopt.select.pick import choose, objections
from edgeopt.select.summarise import summarise
from tests.builders import make_candidate, make_check, make_failure, make_fidelity, make_run, make_skipped
from tests.unit.select.strategies import LIMITS, goals, runs

THOROUGH = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def pick_from(run: Run, **limits: Any) -> Pick:
    return choose(run, Goal(**limits), summarise(run))


def refused(run: Run, goal: Goal) -> set[str]:
    summaries = summarise(run)
    return {s.candidate for s in summaries if objections(run, goal, s, summaries)}


def reason_of(pick: Pick, name: str) -> str:
    return next(loser.reason for loser in pick.losers if loser.name == name)


@given(run=runs(), goal=goals())
@THOROUGH
def test_pick_is_never_a_refused_candidate(run: Run, goal: Goal) -> None:
    pick = choose(run, goal, summarise(run))
    bad = refused(run, goal)
    assert pick.candidate not in bad
    assert (pick.status == "picked") == (pick.candidate is not None)
    if len(bad) == len(run.candidates):
        assert pick.candidate is None
    elif pick.candidate is None:  # one of the others might be better
        assert pick.status == "inconclusive"
        assert not all(
            objection.certain for s in pick.summaries for objection in objections(run, goal, s, pick.summaries)
        )


@given(run=runs(), goal=goals())
@THOROUGH
def test_everyone_is_the_pick_or_loses_with_a_sentence(run: Run, goal: Goal) -> None:
    pick = choose(run, goal, summarise(run))
    everyone = [c.id for c in run.candidates] + [v.name for v in run.variants if v.name == "pruned"]
    assert sorted([loser.name for loser in pick.losers] + ([pick.candidate] if pick.candidate else [])) == sorted(
        everyone
    )
    assert all(len(loser.reason.split()) >= 3 for loser in pick.losers)
    assert len(pick.reason.split()) >= 3


@given(run=runs(), goal=goals(), random=st.randoms())
@THOROUGH
def test_pick_does_not_depend_on_the_order_of_candidates(run: Run, goal: Goal, random: Any) -> None:
    shuffled = list(run.candidates)
    random.shuffle(shuffled)
    other = msgspec.structs.replace(run, candidates=tuple(shuffled))
    first, second = choose(run, goal, summarise(run)), choose(other, goal, summarise(other))
    assert (first.status, first.candidate, first.variant) == (second.status, second.candidate, second.variant)
    assert {(s.name, s.reason) for s in first.losers} == {(s.name, s.reason) for s in second.losers}
    assert set(first.frontier) == set(second.frontier)


@given(run=runs(), goal=goals(), data=st.data())
@THOROUGH
def test_one_more_limit_never_lets_a_refused_candidate_in(run: Run, goal: Goal, data: st.DataObject) -> None:
    absent = [name for name in LIMITS if getattr(goal, name) is None]
    if not absent:
        return
    name = data.draw(st.sampled_from(absent))
    narrower = msgspec.structs.replace(goal, **{name: data.draw(LIMITS[name])})
    assert refused(run, goal) <= refused(run, narrower)


@given(run=runs(), goal=goals())
@THOROUGH
def test_pick_stands_on_the_frontier(run: Run, goal: Goal) -> None:
    pick = choose(run, goal, summarise(run))
    assert pick.candidate is None or pick.candidate in pick.frontier


def test_fastest_is_picked_and_the_skipped_variant_keeps_its_reason() -> None:
    pick = pick_from(
        make_run({"original": 10.0, "int8": 5.0, "fp16": 7.0}, skipped=[make_skipped("pruned", "no samples for it")])
    )
    assert (pick.status, pick.candidate, pick.variant) == ("picked", "int8@all", "int8")
    assert [loser.name for loser in pick.losers] == ["original@all", "fp16@all", "pruned"]
    assert reason_of(pick, "pruned") == "no samples for it"


@pytest.mark.parametrize(("objective", "best"), [("memory", "lean"), ("size", "small"), ("latency", "fast")])
def test_objective_decides_among_the_allowed(objective: str, best: str) -> None:
    run = make_run(
        {"original": 10.0, "fast": 5.0, "lean": 9.0, "small": 8.0},
        sizes={"small": 1_000_000},
        peaks={"lean": 40_000_000},
    )
    assert pick_from(run, objective=objective).variant == best


def test_tie_in_latency_goes_to_the_leaner_then_to_the_simpler() -> None:
    levels = {"original": 10.0, "a": 5.0, "b": 5.05}
    assert pick_from(make_run(levels, peaks={"b": 40_000_000})).variant == "b"
    assert pick_from(make_run(levels, encodings={"a": "int8", "b": "fp16"})).variant == "b"


def test_variant_that_gains_nothing_loses_to_the_original() -> None:
    pick = pick_from(make_run({"original": 10.0, "int8": 9.95}))
    assert pick.variant == "original"
    assert "original" in pick.reason


@pytest.mark.parametrize("objective", ["latency", "memory", "size"])
def test_variant_worse_than_the_original_is_never_picked(objective: str) -> None:
    """Even where a limit rules the original out."""
    run = make_run(
        {"original": 10.0, "int8": 20.0},
        sizes={"int8": 8_000_000},
        peaks={"int8": 160_000_000},
    )
    assert pick_from(run, objective=objective).variant == "original"
    assert refused(run, Goal(objective=objective)) == {"int8@all"}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_latency_p50_ms": 4.0}, "4 ms"),
        ({"max_latency_p90_ms": 4.0}, "4 ms"),
        ({"max_memory_mb": 60.0}, "60 MB"),
        ({"max_size_mb": 3.0}, "3 MB"),
        ({"min_agreement": 0.999}, "99.50"),
        ({"max_certified_accuracy_drop": 0.001}, "2.00"),
    ],
)
def test_broken_limit_is_named_with_both_numbers(limit: dict[str, float], words: str) -> None:
    run = make_run({"original": 10.0, "int8": 5.0}, agreements={"int8": make_fidelity(0.995, 0.98)})
    pick = pick_from(run, **limit)
    assert pick.candidate != "int8@all"
    assert words in reason_of(pick, "int8@all")


def test_goal_that_everyone_certainly_breaks_is_not_met() -> None:
    pick = pick_from(make_run(), max_latency_p50_ms=1.0)
    assert (pick.status, pick.candidate) == ("goal-not-met", None)
    assert "1 ms" in pick.reason


def test_limit_inside_of_the_interval_is_a_doubt_and_not_a_breach() -> None:
    levels = [4.9, 5.1, 4.95, 5.05, 5.0, 4.92, 5.08, 5.02]
    pick = pick_from(make_run({"original": 10.0, "int8": levels}), max_latency_p50_ms=5.02)
    assert pick.status == "inconclusive"
    assert "not shown" in reason_of(pick, "int8@all")


def test_energy_cannot_be_the_objective_without_a_sensor() -> None:
    pick = pick_from(make_run(), objective="energy")
    assert (pick.status, pick.candidate) == ("inconclusive", None)
    assert "this board has no power sensor" in pick.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failures": {"int8": {0: make_failure(), 1: make_failure(detail="SIGILL")}}}, "SIGILL"),
        ({"output_checks": (make_check("int8", failure=make_failure("timeout", "first", "60 s")),)}, "60 s"),
        ({"output_checks": (make_check("int8", make_fidelity(1.0, finite=False)),)}, "NaN"),
        ({"dropped_early": {"int8@all": "twice as slow"}}, "twice as slow"),
        ({"agreements": {"int8": None}}, "not known"),
    ],
)
def test_candidate_that_failed_or_was_not_measured_well_is_refused(changes: dict[str, Any], words: str) -> None:
    pick = pick_from(make_run(**changes))
    assert pick.variant == "original"
    assert words in reason_of(pick, "int8@all")


def test_nothing_measured_is_inconclusive() -> None:
    pick = pick_from(make_run(blocks=()))
    assert (pick.status, pick.candidate) == ("inconclusive", None)
    assert pick_from(make_run({})).status == "inconclusive"


def test_built_variant_without_a_candidate_loses_too() -> None:
    pick = pick_from(make_run(candidates=(make_candidate("original"),)))
    assert [loser.name for loser in pick.losers] == ["int8"]


def test_saved_run_can_be_picked_from_again_with_other_limits() -> None:
    run = make_run({"original": 10.0, "int8": 5.0}, agreements={"int8": make_fidelity(0.96, 0.93)})
    assert pick_from(run, min_agreement=0.98).variant == "original"
    assert pick_from(run, min_agreement=0.95).variant == "int8"


def test_frontier_leaves_out_what_another_covers() -> None:
    run = make_run(
        {"original": 10.0, "fast": 5.0, "small": 8.0, "poor": 9.0},
        sizes={"small": 1_000_000, "fast": 3_000_000, "poor": 3_500_000},
        agreements={name: make_fidelity(0.99, 0.97) for name in ("fast", "small", "poor")},
    )
    assert set(pick_from(run).frontier) == {"original@all", "fast@all", "small@all"}


def with_energy(run: Run, **mj: float | None) -> tuple[Summary, ...]:
    """Summaries as a board with a power sensor would give them."""
    return tuple(msgspec.structs.replace(s, energy_mj=mj[s.variant]) for s in summarise(run))


def test_thriftiest_is_picked_where_energy_was_measured() -> None:
    run = make_run({"original": 10.0, "fast": 5.0, "thrifty": 8.0})
    pick = choose(run, Goal(objective="energy"), with_energy(run, original=9.0, fast=7.0, thrifty=4.0))
    assert pick.variant == "thrifty"
    assert "4 mJ" in pick.reason
    assert "7 mJ" in reason_of(pick, "fast@all")


def test_variant_of_unknown_energy_is_no_choice_by_energy() -> None:
    run = make_run({"original": 10.0, "fast": 5.0})
    pick = choose(run, Goal(objective="energy"), with_energy(run, original=9.0, fast=None))
    assert pick.variant == "original"
    assert "energy is not known" in reason_of(pick, "fast@all")


@pytest.mark.parametrize("objective", ["memory", "size"])
def test_variant_needs_an_original_to_be_compared_with(objective: str) -> None:
    pick = pick_from(make_run({"int8": 5.0}), objective=objective)
    assert pick.status == "inconclusive"
    assert "cannot be compared with the original" in reason_of(pick, "int8@all")


def test_where_the_original_does_not_run_the_best_variant_is_picked() -> None:
    """There is nothing to be worse than."""
    pick = pick_from(make_run(failures={"original": {n: make_failure("memory") for n in range(8)}}))
    assert pick.variant == "int8"
    assert "against the original is not known" in pick.reason


def test_candidates_alike_in_everything_go_by_name() -> None:
    pick = pick_from(make_run({"original": 10.0, "a": 5.0, "b": 5.0}))
    assert pick.variant == "a"
    assert "by name" in reason_of(pick, "b@all")


def test_tie_names_what_decided() -> None:
    levels = {"original": 10.0, "a": 5.0, "b": 5.0}
    simple = pick_from(make_run(levels, encodings={"a": "int8", "b": "fp16"}))
    assert "tie" in reason_of(simple, "a@all")
    assert "less simple" in reason_of(simple, "a@all")
    lean = pick_from(make_run(levels, peaks={"a": None, "b": 50_000_000}))
    assert "peak memory is not known" in reason_of(lean, "a@all")


def test_disturbed_blocks_count_where_the_plan_accepts_them() -> None:
    flags = {"int8": dict.fromkeys(range(8), ("foreign-load",))}
    run = make_run(flags=flags, plan=MeasurePlan(accept_disturbed=True))
    assert summarise(run)[1].p50_ms is not None
    assert summarise(make_run(flags=flags))[1].p50_ms is None


def test_a_saved_run_may_be_picked_from_as_it_is() -> None:
    """Who had no undisturbed block is in the race again; who was behind by undisturbed ones is not."""
    noisy = dict.fromkeys(range(8), ("foreign-load",))
    levels = {"original": 10.0, "int8": 5.0, "clean": 9.0}
    dropped = {"int8@all": "none of its blocks was undisturbed", "clean@all": "it took longer"}
    run = make_run(levels, flags={"original": noisy, "int8": noisy}, dropped_early=dropped)
    assert pick_from(run).status == "inconclusive"

    accepted = accepting_disturbed(run)
    pick = pick_from(accepted)
    assert pick.variant == "int8"
    assert "it took longer" in reason_of(pick, "clean@all")
    assert accepting_disturbed(accepted) == accepted


def test_agreement_on_synthetic_inputs_is_a_doubt_that_the_user_may_lift() -> None:
    """Where agreement does not count at all, nor does where it was measured."""
    samples = SamplesInfo(source="synthetic", count=100, calibration=50, heldout=50, digest="0", synthetic=True)
    fidelity = make_fidelity(0.99, None, synthetic=True)
    run = make_run({"original": 10.0, "int8": 5.0}, agreements={"int8": fidelity}, samples=samples)
    pick = pick_from(run)
    assert pick.variant == "original"
    assert "measured on synthetic inputs only; accept that with --accept-synthetic" in reason_of(pick, "int8@all")
    assert pick_from(run, accept_synthetic=True).variant == "int8"
    assert pick_from(run, min_agreement=0.0).variant == "int8"
    assert pick_from(run, accept_synthetic=True, max_certified_accuracy_drop=0.05).variant == "original"
