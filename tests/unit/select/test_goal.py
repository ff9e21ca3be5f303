"""Goals of more than one quantity: one after the other, or weighed against each other; and what the race makes of them."""

from __future__ import annotations

import pytest

from edgeopt.domain.goal import Goal, overridden
from edgeopt.select.pick import choose
from edgeopt.select.ranking import Weighted, best_of
from edgeopt.select.summarise import summarise
from tests.builders import make_run, make_summary
from tests.unit.select.test_race import race

WEIGHTS = {"latency": 0.7, "memory": 0.3}


def test_what_is_named_next_decides_between_those_that_are_alike() -> None:
    lean = make_summary("lean", p50_ms=10.1, peak_memory_bytes=40_000_000, size_bytes=3_000_000)
    small = make_summary("small", p50_ms=10.0, peak_memory_bytes=60_000_000, size_bytes=1_000_000)
    fat = make_summary("fat", p50_ms=11.0, peak_memory_bytes=10_000_000, size_bytes=1)
    everyone = [lean, small, fat]
    assert best_of(everyone, Goal()).variant == "lean"
    assert best_of(everyone, Goal(then=("size",))).variant == "small"
    assert best_of(everyone, Goal(objective="memory", then=("size",))).variant == "fat"


@pytest.mark.parametrize(
    ("latency", "memory", "picked"), [(0.9, 0.1, "fast@all"), (0.1, 0.9, "lean@all"), (2, 2, "even@all")]
)
def test_weights_say_what_is_worth_what(latency: float, memory: float, picked: str) -> None:
    peaks = {"original": 90_000_000, "fast": 80_000_000, "lean": 20_000_000, "even": 36_000_000}
    run = make_run({"original": 20.0, "fast": 5.0, "lean": 19.0, "even": 10.0}, peaks=peaks)
    goal = Goal(weights={"latency": latency, "memory": memory})
    pick = choose(run, goal, summarise(run))
    assert pick.candidate == picked
    assert "by the weights" in pick.reason
    assert all("by the weights" in loser.reason or "tie" in loser.reason for loser in pick.losers)


def test_weights_are_shares_whatever_their_sum() -> None:
    s = make_summary()
    assert Weighted({"latency": 7, "memory": 3})(s) == pytest.approx(Weighted(WEIGHTS)(s))  # type: ignore[arg-type]


def test_what_costs_more_than_the_original_by_the_weights_is_not_picked() -> None:
    run = make_run({"original": 10.0, "fast": 9.0}, peaks={"original": 20_000_000, "fast": 90_000_000})
    pick = choose(run, Goal(weights=WEIGHTS), summarise(run))
    assert pick.candidate == "original@all"
    assert "costs more than the original" in pick.losers[0].reason


def test_what_has_no_value_for_a_weight_cannot_be_compared() -> None:
    run = make_run({"original": 10.0, "fast": 5.0}, peaks={"original": 20_000_000, "fast": None})
    pick = choose(run, Goal(weights=WEIGHTS), summarise(run))
    assert pick.candidate == "original@all"
    assert "cannot be compared with the original in all that has a weight" in pick.losers[0].reason


def test_energy_with_a_weight_is_asked_for_like_energy_alone() -> None:
    assert Goal(weights={"energy": 1.0}).asks_for_energy
    assert not Goal(objective="energy", weights={"latency": 1.0}).asks_for_energy
    run = make_run()
    pick = choose(run, Goal(weights={"latency": 1.0, "energy": 1.0}), summarise(run))
    assert pick.status == "inconclusive"
    assert "energy was not measured" in pick.reason


def test_weights_without_latency_compare_the_rest_as_it_is() -> None:
    run = make_run({"original": 10.0, "small": 9.0}, sizes={"original": 4_000_000, "small": 1_000_000})
    assert choose(run, Goal(weights={"size": 1.0}), summarise(run)).candidate == "small@all"


def test_the_race_is_about_what_is_weighed() -> None:
    peaks = {"original": 90_000_000, "fast": 80_000_000, "lean": 20_000_000}
    levels = {"original": 20.0, "fast": 8.0, "lean": 9.5}
    goal = Goal(weights={"latency": 0.5, "memory": 0.5}, min_agreement=None)
    raced = race(levels, goal=goal, peaks=peaks)
    assert set(raced.dropped) == {"fast@all"}
    near = race({**levels, "near": 9.8}, goal=goal, peaks={**peaks, "near": 20_000_000})
    assert "what the goal weighs" in near.dropped.get("near@all", "what the goal weighs")
    energetic = race(levels, goal=Goal(weights={"energy": 1.0, "latency": 1.0}, min_agreement=None), peaks=peaks)
    assert energetic.dropped == {}
    nothing = race({"original": 20.0, "fast": 8.0}, goal=goal, peaks={"original": 1, "fast": 0})
    assert nothing.dropped == {}


def test_a_slower_one_goes_on_where_it_may_win_by_the_second_quantity() -> None:
    sizes = {"original": 4_000_000, "fast": 3_000_000, "small": 1_000_000}
    goal = Goal(objective="memory", then=("size",), min_agreement=None)
    raced = race({"original": 10.0, "fast": 8.0, "small": 9.0}, goal=goal, sizes=sizes)
    assert "small@all" not in raced.dropped
    assert choose(raced.run, goal, summarise(raced.run)).candidate == "small@all"


def test_naming_an_objective_takes_the_place_of_weights() -> None:
    saved = {"objective": "latency", "then": ("size",), "weights": WEIGHTS, "max_size_mb": 1.0}
    assert overridden(saved, {"objective": "memory"}) == {"objective": "memory", "max_size_mb": 1.0}
    assert overridden(saved, {"max_size_mb": 2.0}) == {**saved, "max_size_mb": 2.0}
