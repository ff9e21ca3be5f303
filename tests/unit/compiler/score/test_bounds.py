"""What holds with 95 % confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeopt.compiler.score.bounds import bootstrap_interval, clopper_pearson_lower, mean_lower

SHARES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60)


@given(st.integers(1, 400), st.data(), st.sampled_from([0.05, 0.01, 0.2, 0.5]))
@settings(max_examples=60, deadline=None)
def test_share_bound_equals_the_beta_quantile(n, data, alpha):
    """Clopper-Pearson's lower bound is the alpha quantile of Beta(k, n - k + 1)."""
    k = data.draw(st.integers(0, n))
    expected = 0.0 if k == 0 else float(stats.beta.ppf(alpha, k, n - k + 1))
    assert clopper_pearson_lower(k, n, alpha) == pytest.approx(expected, abs=1e-9)


def test_share_bound_equals_scipys_exact_interval():
    """One side at 5 % is the lower end of the two-sided 90 % interval."""
    interval = stats.binomtest(980, 1000).proportion_ci(confidence_level=0.90, method="exact")
    assert clopper_pearson_lower(980, 1000) == pytest.approx(interval.low, abs=1e-9)


def test_share_bound_reproduces_the_rule_of_three():
    """All of 500 agree: with 95 % confidence fewer than 0.6 % disagree."""
    assert clopper_pearson_lower(500, 500) == pytest.approx(0.05 ** (1 / 500))
    assert 1 - clopper_pearson_lower(500, 500) < 0.006


@given(st.integers(1, 120))
@settings(max_examples=30, deadline=None)
def test_share_bound_grows_with_successes_and_stays_below_the_share(n):
    bounds = [clopper_pearson_lower(k, n) for k in range(n + 1)]
    assert bounds == sorted(bounds)
    assert all(bound <= k / n for k, bound in enumerate(bounds))


@given(st.integers(1, 60), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_share_bound_grows_with_samples_of_the_same_share(n, times):
    assert clopper_pearson_lower(n, 2 * n) <= clopper_pearson_lower(times * n, times * 2 * n) + 1e-12


@pytest.mark.parametrize(("k", "n", "alpha"), [(-1, 5, 0.05), (6, 5, 0.05), (0, 0, 0.05), (1, 5, 0.0), (1, 5, 1.0)])
def test_share_bound_refuses_what_is_no_share(k, n, alpha):
    with pytest.raises(ValueError, match="no bound"):
        clopper_pearson_lower(k, n, alpha)


@given(SHARES)
@settings(max_examples=80, deadline=None)
def test_mean_bound_lies_between_zero_and_the_mean(values):
    bound = mean_lower(np.array(values))
    assert 0.0 <= bound <= np.mean(values) + 1e-12


@given(SHARES, st.data())
@settings(max_examples=60, deadline=None)
def test_mean_bound_grows_with_any_value(values, data):
    """More agreement on any sample never lowers it."""
    i = data.draw(st.integers(0, len(values) - 1))
    better = [*values[:i], 1.0, *values[i + 1 :]]
    assert mean_lower(np.array(better)) >= mean_lower(np.array(values)) - 1e-9


@given(st.integers(1, 200), st.data())
@settings(max_examples=60, deadline=None)
def test_mean_bound_is_never_above_the_exact_one_of_yes_and_no(n, data):
    """Chernoff's tail bounds the binomial's, so what it certifies is certified by Clopper and Pearson, too; where all agree they are equal."""
    k = data.draw(st.integers(0, n))
    values = np.r_[np.ones(k), np.zeros(n - k)]
    assert mean_lower(values) <= clopper_pearson_lower(k, n) + 1e-9
    assert mean_lower(np.ones(n)) == pytest.approx(clopper_pearson_lower(n, n), abs=1e-9)


def test_mean_bound_holds_in_repeated_draws_of_clustered_shares():
    """400 draws of 60 shares of mean 0.9: it fails in at most 5 % of them (here in fewer, for it asks nothing of their spread)."""
    generator = np.random.default_rng(0)
    failures = sum(mean_lower(generator.beta(9, 1, 60)) > 0.9 for _ in range(400))
    assert failures <= 20


@pytest.mark.parametrize("values", [[], [0.5, 1.1], [-0.1, 0.5]])
def test_mean_bound_refuses_what_is_not_between_zero_and_one(values):
    with pytest.raises(ValueError, match="no bound"):
        mean_lower(np.array(values))


def test_bootstrap_interval_is_near_the_normal_one():
    values = np.random.default_rng(1).random(400)
    low, high = bootstrap_interval(values, np.zeros(400))
    half = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.004)
    assert high == pytest.approx(values.mean() + half, abs=0.004)


def test_bootstrap_interval_is_the_same_for_a_seed_however_it_is_cut(monkeypatch):
    """Resampling in pieces that fit in memory is no other resampling."""
    values = np.random.default_rng(1).random(50)
    none = np.zeros(50)
    whole = bootstrap_interval(values, none, seed=3)
    assert bootstrap_interval(values, none, seed=3) == whole
    assert bootstrap_interval(values, none, seed=4) != whole
    monkeypatch.setattr("edgeopt.compiler.score.bounds._AT_ONCE", 3000)
    assert bootstrap_interval(values, none, seed=3) == pytest.approx(whole, abs=0.02)


def test_bootstrap_interval_grows_with_what_was_not_looked_at():
    """Coins of share 0.5 that are not tossed yet: the normal interval of 100 tosses."""
    low, high = bootstrap_interval(np.full(100, 0.5), np.full(100, 0.25))
    assert (low, high) == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=0.01)
