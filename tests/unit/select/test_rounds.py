"""The schedule: fair, repeatable, and it ends early only for what is far behind."""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.rounds import estimate_energy_seconds, estimate_seconds, gross_losers, round_order

names = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8)


def test_a_low_rate_makes_blocks_longer_up_to_their_maximum() -> None:
    plan = MeasurePlan(rounds=1, block_min_s=1.0, block_min_inferences=20, block_max_s=15.0, warmup_min_s=0.0)

    def seconds(rate_hz: float) -> float:
        return estimate_seconds(msgspec.structs.replace(plan, scenario="fixed-rate", rate_hz=rate_hz), 1, load_s=0.0)

    assert [seconds(rate) for rate in (100.0, 4.0, 0.1)] == [1.0, 5.0, 15.0]


@given(names, st.integers(), st.integers(0, 99), st.randoms())
def test_order_has_everyone_once_and_follows_from_the_seed(
    candidates: list[str], seed: int, number: int, random: object
) -> None:
    order = round_order(candidates, seed, number)
    assert sorted(order) == sorted(candidates)
    random.shuffle(candidates)  # type: ignore[attr-defined]
    assert round_order(candidates, seed, number) == order


def test_order_is_the_same_in_every_process() -> None:
    """A saved seed must repeat the run; these were written down once."""
    assert [round_order("abcd", 0, number) for number in range(2)] == [
        round_order("dcba", 0, number) for number in range(2)
    ]
    assert round_order("abcdef", 1, 0) != round_order("abcdef", 2, 0)


def test_everyone_is_first_about_equally_often() -> None:
    firsts = Counter(round_order("abcd", 7, number)[0] for number in range(400))
    assert min(firsts.values()) > 70


def logs(**levels: list[float]) -> dict[str, dict[int, float]]:
    return {name: {number: math.log(ms) for number, ms in enumerate(values)} for name, values in levels.items()}


def test_far_behind_in_every_round_is_lost_with_a_sentence() -> None:
    lost = gross_losers(logs(fast=[10, 10], slow=[20, 14]), 1.3, ["fast", "slow"])
    assert set(lost) == {"slow"}
    assert "fast" in lost["slow"]
    assert "1.4" in lost["slow"]


def test_one_round_within_reach_saves_a_candidate() -> None:
    assert gross_losers(logs(fast=[10, 10, 10], slow=[20, 12, 20]), 1.3, ["slow"]) == {}


def test_only_who_is_judged_is_lost() -> None:
    assert gross_losers(logs(fast=[1, 1], slow=[50, 50]), 1.3, ["fast"]) == {}


@pytest.mark.parametrize("rounds", [0, 1])
def test_nobody_is_lost_before_two_rounds(rounds: int) -> None:
    assert gross_losers(logs(fast=[1] * rounds, slow=[50] * rounds), 1.3, ["fast", "slow"]) == {}


def test_rounds_without_the_leader_are_no_evidence() -> None:
    levels = {"fast": {0: 0.0, 1: 0.0}, "slow": {0: 4.0, 2: 4.0}}
    assert gross_losers(levels, 1.3, ["slow"]) == {}


def test_estimate_counts_every_block_and_the_answers() -> None:
    plan = MeasurePlan(rounds=8, block_min_s=1.0, warmup_min_s=0.5)
    assert estimate_seconds(plan, 3, load_s=0.5) == 3 * (8 * 2.0 + 0.5)
    assert estimate_seconds(plan, 0) == 0


def test_estimate_is_for_all_rounds_of_a_race_and_within_the_budget() -> None:
    plan = MeasurePlan(max_rounds=10, block_min_s=1.0, warmup_min_s=0.5)
    assert estimate_seconds(plan, 3, load_s=0.5) == 3 * (10 * 2.0 + 0.5)
    assert estimate_seconds(msgspec.structs.replace(plan, budget_s=5.0), 3, load_s=0.5) == 5.0 + 3 * 0.5


def test_energy_windows_are_two_idle_parts_and_one_of_work_for_everyone_in_every_round() -> None:
    plan = MeasurePlan(energy_rounds=3, energy_idle_s=2.0, energy_load_s=5.0)
    assert estimate_energy_seconds(plan, 2, load_s=1.0) == 2 * 3 * (4.0 + 5.0 + 1.0)
