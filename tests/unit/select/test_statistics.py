"""Estimators against scipy and against counting everything."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeopt.select.statistics import (
    MIN_FOR_INTERVAL,
    early_stopping_quantile,
    effective_count,
    hodges_lehmann,
    median,
    needed_samples,
    tail_rank,
)

values = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=14)


@given(values)
def test_median_is_numpys(sample: list[float]) -> None:
    assert median(sample) == pytest.approx(float(np.median(sample)), abs=1e-9)


def test_median_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="median of nothing"):
        median([])


@given(values)
def test_level_is_the_median_of_all_pairwise_means(sample: list[float]) -> None:
    pairs = itertools.combinations_with_replacement(sample, 2)
    assert hodges_lehmann(sample)[0] == pytest.approx(float(np.median([(a + b) / 2 for a, b in pairs])), abs=1e-9)


@given(values)
def test_interval_holds_the_level_and_exists_from_six_values_on(sample: list[float]) -> None:
    level, low, high = hodges_lehmann(sample)
    if len(sample) < MIN_FOR_INTERVAL:
        assert (low, high) == (None, None)
    else:
        assert low is not None
        assert high is not None
        assert low <= level <= high


@given(values, st.randoms())
def test_level_and_interval_do_not_depend_on_the_order(sample: list[float], random: object) -> None:
    shuffled = list(sample)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert hodges_lehmann(shuffled) == hodges_lehmann(sample)


@pytest.mark.parametrize("count", [6, 7, 8, 12, 20])
def test_interval_holds_exactly_what_the_signed_rank_test_does_not_reject(count: int) -> None:
    """scipy's exact test, asked just inside and just outside of each end."""
    sample = np.random.default_rng(count).normal(10, 1, count)
    _, low, high = hodges_lehmann(list(sample))
    assert low is not None
    assert high is not None

    def rejected(centre: float) -> bool:
        return bool(stats.wilcoxon(sample - centre, method="exact").pvalue <= 0.05)

    step = 1e-9
    assert [rejected(low - step), rejected(low + step), rejected(high - step), rejected(high + step)] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("count", [6, 8, 10])
def test_cut_is_that_of_all_sign_patterns(count: int) -> None:
    """For symmetric values the interval's ends are known from the null distribution, counted out in full."""
    sums = [
        sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in itertools.product([0, 1], repeat=count)
    ]
    cut = max(k for k in range(count * count) if sum(s < k for s in sums) / len(sums) <= 0.025)
    sample = [float(3**i) for i in range(count)]
    walsh = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(sample, 2))
    assert hodges_lehmann(sample)[1:] == (walsh[cut - 1], walsh[-cut])


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [1, 2, 10, 45, 46, 47, 100, 473, 1000])
def test_tail_rank_is_the_largest_that_the_binomial_allows(count: int, share: float) -> None:
    allowed = [t for t in range(1, count) if stats.binom.cdf(t, count, 1 - share) <= 0.05]
    assert tail_rank(count, share) == (max(allowed) if allowed else None)


@pytest.mark.parametrize(("share", "least"), [(0.9, 46), (0.99, 473), (0.5, 8)])
def test_needed_samples_are_the_fewest_that_carry_the_quantile(share: float, least: int) -> None:
    assert needed_samples(share) == least
    assert tail_rank(least - 1, share) is None
    assert tail_rank(least, share) is not None


def test_quantile_needs_enough_independent_values() -> None:
    sample = [float(i) for i in range(100)]
    assert early_stopping_quantile(sample[:45], 0.9) is None
    assert early_stopping_quantile(sample, 0.9, effective=45.9) is None
    assert early_stopping_quantile([], 0.9) is None


def test_quantile_is_the_value_at_the_binomial_rank() -> None:
    sample = [float(i) for i in range(100)]
    rank = tail_rank(100, 0.9)
    assert rank is not None
    assert early_stopping_quantile(sample, 0.9) == sample[-rank]


@given(st.integers(46, 400), st.floats(46, 400))
def test_fewer_independent_values_never_make_the_estimate_smaller_than_the_empirical_quantile(
    count: int, effective: float
) -> None:
    sample = [float(i) for i in range(count)]
    estimate = early_stopping_quantile(sample, 0.9, effective=effective)
    assert estimate is not None
    assert sample[math.floor(0.9 * (count - 1))] <= estimate <= sample[-1]


def test_quantile_is_above_the_true_one_as_often_as_promised() -> None:
    """2000 samples of 200 from a known distribution, always the same ones."""
    rng = np.random.default_rng(20)
    truth = stats.expon.ppf(0.9)
    held = sum((early_stopping_quantile(sorted(rng.exponential(size=200)), 0.9) or 0) >= truth for _ in range(2000))
    assert held / 2000 >= 0.95


def test_interval_holds_the_true_level_as_often_as_promised() -> None:
    rng = np.random.default_rng(21)
    held = 0
    for _ in range(1000):
        _, low, high = hodges_lehmann(list(rng.normal(3, 1, 8)))
        held += low is not None and high is not None and low <= 3 <= high
    assert held / 1000 >= 0.95


def test_independent_values_count_about_as_many_as_they_are() -> None:
    series = [list(np.random.default_rng(seed).normal(size=400)) for seed in range(8)]
    assert effective_count(series) > 2400


def test_values_that_repeat_their_neighbours_count_for_less() -> None:
    """Each value ten times over is worth about a tenth."""
    series = [list(np.repeat(np.random.default_rng(seed).normal(size=100), 10)) for seed in range(8)]
    assert effective_count(series) < 8000 / 4


def test_one_stall_does_not_hide_that_the_others_are_alike() -> None:
    drift = [float(i) for i in range(400)]
    assert effective_count([[*drift[:-1], 1e9]]) == pytest.approx(effective_count([drift]))


@pytest.mark.parametrize(
    ("series", "count"), [([], 0), ([[]], 0), ([[1.0]], 1), ([[2.0] * 50], 50), ([[1.0, 2.0], []], 2)]
)
def test_series_without_spread_or_batches_count_by_their_length(series: list[list[float]], count: int) -> None:
    assert effective_count(series) == count


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=60), max_size=5))
def test_effective_count_is_never_more_than_there_are(series: list[list[float]]) -> None:
    assert 0 <= effective_count(series) <= sum(map(len, series))
