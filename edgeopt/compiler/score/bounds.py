"""Statements that hold with 95 % confidence, from independent samples.

- `clopper_pearson_lower`: exact for shares of yes and no. Clopper and Pearson, Biometrika 26 (1934).
- `mean_lower`: for means of any values in 0..1, by the bound of Hoeffding, JASA 58 (1963), theorem 1, in its relative-entropy form. It asks for nothing but
  independent samples; where every sample says 1 it equals Clopper and Pearson's.
- `bootstrap_interval`: percentiles of resampled means, each with the noise of outcomes that were not looked at. Efron, Annals of Statistics 7 (1979).
  Approximate, so it describes an estimate and certifies nothing.
"""

from __future__ import annotations

import math

import numpy as np

from edgeopt.compiler.score.form import Array

ALPHA = 0.05
RESAMPLES = 2000
_AT_ONCE = 1 << 22
"""Resampled values held at a time: 32 MB."""


def clopper_pearson_lower(successes: int, n: int, alpha: float = ALPHA) -> float:
    """Exact one-sided lower bound of a share at confidence 1 - alpha: the p at which `successes` or more of n has probability alpha.

    By bisection on the binomial tail, whose terms are added in log space.

    Raises:
        ValueError: not 0 <= successes <= n, n < 1, or not 0 < alpha < 1.
    """
    if not (0 <= successes <= n and n >= 1 and 0.0 < alpha < 1.0):
        raise ValueError(f"no bound for {successes} of {n} at alpha {alpha}")
    if successes == 0:
        return 0.0
    if successes == n:
        return float(alpha ** (1.0 / n))
    k = np.arange(successes, n + 1)
    log_choose = math.lgamma(n + 1) - np.array([math.lgamma(i + 1) + math.lgamma(n - i + 1) for i in k])
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2.0
        if _tail(k, n, middle, log_choose) < alpha:
            low = middle
        else:
            high = middle
    return low


def _tail(k: Array, n: int, p: float, log_choose: Array) -> float:
    """P(X >= k[0]) for X ~ Binomial(n, p)."""
    terms = log_choose + k * math.log(p) + (n - k) * math.log1p(-p)
    top = float(np.max(terms))
    return math.exp(top) * float(np.sum(np.exp(terms - top)))


def mean_lower(values: Array, alpha: float = ALPHA) -> float:
    """Lower bound of the mean of independent values [n] in 0..1: the smallest m with n KL(mean || m) <= log(1 / alpha).

    KL is that of two coins. By bisection between 0 and the observed mean.

    Raises:
        ValueError: no values, or one outside of 0..1.
    """
    if len(values) == 0 or float(np.min(values)) < 0.0 or float(np.max(values)) > 1.0:
        raise ValueError("no bound: a mean of values in 0..1 is asked for")
    mean, allowed = float(np.mean(values)), math.log(1.0 / alpha) / len(values)
    low, high = 0.0, mean
    while high - low > 1e-12:
        middle = (low + high) / 2.0
        if _coin_kl(mean, middle) > allowed:
            low = middle
        else:
            high = middle
    return low


def _coin_kl(p: float, q: float) -> float:
    """KL of a coin of share p to one of share q, for 0 < q <= p <= 1, in nats."""
    return p * math.log(p / q) + ((1.0 - p) * math.log((1.0 - p) / (1.0 - q)) if p < 1.0 else 0.0)


def bootstrap_interval(values: Array, variances: Array, *, seed: int = 0, alpha: float = ALPHA) -> tuple[float, float]:
    """Two-sided percentile interval, at confidence 1 - alpha, of the mean outcome of n independent samples. The same for the same seed.

    Args:
        values: [n] expected outcomes.
        variances: [n] of the outcomes around them. The mean of resampled outcomes is taken for normal; where values are all that is to be known, 0.
        seed: of the resampling.
        alpha: what lies outside, half on either side.
    """
    generator = np.random.default_rng(seed)
    n, means = len(values), []
    step = max(1, _AT_ONCE // n)
    for start in range(0, RESAMPLES, step):
        drawn = generator.integers(0, n, size=(min(step, RESAMPLES - start), n))
        noise = generator.standard_normal(len(drawn)) * np.sqrt(variances[drawn].sum(axis=1)) / n
        means.append(values[drawn].mean(axis=1) + noise)
    low, high = np.quantile(np.concatenate(means), [alpha / 2.0, 1.0 - alpha / 2.0])
    return float(low), float(high)
