"""Comparisons inside rounds: intervals that keep their confidence, and how long telling apart takes."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.select.paired import detectable, differences, paired_interval, rounds_to_tell
from edgeopt.select.student import t_cdf, t_quantile

values = st.lists(st.floats(-1, 1), min_size=3, max_size=24)


@pytest.mark.parametrize(
    ("share", "freedom", "expected"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.999, 2, 22.3271),
        (0.999, 3, 10.2145),
        (0.975, 5, 2.57058),
        (0.975, 23, 2.06866),
        (0.5, 4, 0.0),
    ],
)
def test_quantiles_are_those_of_the_tables(share: float, freedom: int, expected: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@given(st.floats(0.5, 0.99999), st.integers(1, 40))
def test_the_quantile_inverts_the_distribution(share: float, freedom: int) -> None:
    assert t_cdf(t_quantile(share, freedom), freedom) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("share", [0.4, 1.0, math.nan])
def test_there_is_no_quantile_of_what_is_no_share(share: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(share, 3)


def test_only_rounds_that_both_have_are_compared() -> None:
    assert differences({0: 1.0, 2: 5.0, 3: 1.0}, {0: 0.5, 1: 9.0, 2: 1.0}) == [0.5, 4.0]


@given(values, st.floats(0.0001, 0.2))
def test_an_interval_holds_its_middle_and_grows_with_confidence(sample: list[float], alpha: float) -> None:
    found, surer = paired_interval(sample, alpha), paired_interval(sample, alpha / 4)
    assert found is not None
    assert surer is not None
    assert found.low <= found.middle <= found.high
    assert found.rounds == len(sample)
    if 0.5 ** len(sample) <= alpha / 4 or 0.5 ** len(sample) > alpha:
        assert surer.low <= found.low + 1e-12
        assert surer.high >= found.high - 1e-12


def test_two_values_carry_no_interval() -> None:
    assert paired_interval([0.1, 0.1], 0.2) is None


@pytest.mark.parametrize("rounds", [3, 5, 6, 8, 12])
def test_intervals_miss_as_seldom_as_they_say(rounds: int) -> None:
    rng = random.Random(rounds)  # noqa: S311 - a simulation
    tries = 2000
    missed = 0
    for _ in range(tries):
        found = paired_interval([rng.gauss(0.3, 0.01) for _ in range(rounds)], 0.025)
        assert found is not None
        missed += not found.low <= 0.3 <= found.high
    assert missed / tries < 0.065


def test_the_detectable_difference_is_that_of_the_notes() -> None:
    """At a spread of 1 %: 1.42 % in 6 rounds, 0.89 % in 12, 0.60 % in 24."""
    found = [detectable(0.01, rounds) for rounds in (6, 12, 24)]
    assert found == pytest.approx([0.0142, 0.0089, 0.0060], abs=0.0001)


def test_smaller_differences_take_more_rounds_and_none_at_all_cannot_be_told() -> None:
    assert rounds_to_tell(0.05, 0.01) == 3
    assert rounds_to_tell(0.0089, 0.01) == 12
    assert rounds_to_tell(-0.0089, 0.01) == 12
    assert rounds_to_tell(0.0, 0.01) is None
