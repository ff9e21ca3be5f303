"""The schedule: fair, repeatable, and it ends early only for what is far behind."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.rounds import drop_dominated, estimate_seconds, round_order
from tests.builders import make_block, make_blocks, make_candidate, make_failure

names = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8)


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


ORIGINAL, FAST, SLOW = (make_candidate(name) for name in ("original", "fast", "slow"))
ALL = (ORIGINAL, FAST, SLOW)


def test_far_behind_in_every_round_is_dropped_with_a_sentence() -> None:
    blocks = make_blocks("fast@all", [10, 10]) + make_blocks("slow@all", [20, 14])
    dropped = drop_dominated(blocks, ALL, 1.3)
    assert set(dropped) == {"slow@all"}
    assert "fast@all" in dropped["slow@all"]
    assert "1.4" in dropped["slow@all"]


def test_one_round_within_reach_saves_a_candidate() -> None:
    blocks = make_blocks("fast@all", [10, 10, 10]) + make_blocks("slow@all", [20, 12, 20])
    assert drop_dominated(blocks, ALL, 1.3) == {}


def test_original_is_never_dropped() -> None:
    blocks = make_blocks("fast@all", [1, 1]) + make_blocks("original@all", [50, 50])
    assert drop_dominated(blocks, ALL, 1.3) == {}


@pytest.mark.parametrize("rounds", [0, 1])
def test_nobody_is_dropped_before_two_rounds(rounds: int) -> None:
    blocks = make_blocks("fast@all", [1] * rounds) + make_blocks("slow@all", [50] * rounds)
    assert drop_dominated(blocks, ALL, 1.3) == {}


def test_failed_or_missing_blocks_are_no_evidence() -> None:
    """One good round is not two, and a block of a candidate that is out says nothing."""
    blocks = (
        *make_blocks("fast@all", [1, 1]),
        *make_blocks("slow@all", [50, 50], failures={1: make_failure()}),
        *make_blocks("gone@all", [0.001, 0.001]),
        make_block("slow@all", 1, ()),
    )
    assert drop_dominated(blocks, ALL, 1.3) == {}


def test_estimate_counts_every_block_and_the_answers() -> None:
    plan = MeasurePlan(rounds=8, block_min_s=1.0, warmup_min_s=0.5)
    assert estimate_seconds(plan, 3, load_s=0.5) == 3 * (8 * 2.0 + 0.5)
    assert estimate_seconds(plan, 0) == 0
