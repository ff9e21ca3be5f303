"""Estimators that are honest about small, dirty samples. Standard library only.

The unit of evidence is the block (a fresh process), never the inference: inferences of one block share its heap, its clocks and its neighbours.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

MIN_FOR_INTERVAL = 6
"""With five values no two-sided exact 95 % signed-rank interval exists (the widest one holds 93.75 %)."""


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle. Raises ValueError when empty."""
    if not values:
        msg = "median of nothing"
        raise ValueError(msg)
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def hodges_lehmann(values: Sequence[float], alpha: float = 0.05) -> tuple[float, float | None, float | None]:
    """Return the Hodges-Lehmann level of `values` and its exact two-sided signed-rank interval.

    The level is the median of all Walsh averages (Hodges and Lehmann 1963); the interval inverts Wilcoxon's signed-rank test with its exact null
    distribution (Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, section 3.3).

    Args:
        values: one per block or round, in any unit; not empty.
        alpha: one minus the confidence.

    Returns:
        (level, low, high); low and high are None when too few values carry an interval.
    """
    count = len(values)
    walsh = sorted((values[i] + values[j]) / 2 for i in range(count) for j in range(i, count))
    level = median(walsh)
    skip = _signed_rank_cut(count, alpha)
    if skip == 0:
        return level, None, None
    return level, walsh[skip - 1], walsh[-skip]


@lru_cache(maxsize=64)
def _signed_rank_cut(count: int, alpha: float) -> int:
    """Return the largest k with P(T < k) <= alpha / 2 under the null; 0 when there is none."""
    counts = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    cut, cumulated, everything = 0, 0, 2**count
    while (cumulated + counts[cut]) / everything <= alpha / 2:
        cumulated += counts[cut]
        cut += 1
    return cut


def tail_rank(count: int, share: float, confidence: float = 0.95) -> int | None:
    """Return how many of `count` sorted values may lie at or beyond the estimate of the `share` quantile (MLPerf LoadGen's early stopping).

    The largest t >= 1 with P(at most t of `count` beyond | true share) <= 1 - confidence; None when the sample cannot carry the quantile.
    """
    log_yes, log_no = math.log1p(-share), math.log(share)
    whole = math.lgamma(count + 1)
    cumulated, best = 0.0, None
    for beyond in range(count):
        ways = whole - math.lgamma(beyond + 1) - math.lgamma(count - beyond + 1)
        cumulated += math.exp(ways + beyond * log_yes + (count - beyond) * log_no)
        if cumulated > 1 - confidence:
            break
        best = beyond
    return best or None


def early_stopping_quantile(
    sorted_values: Sequence[float], p: float, confidence: float = 0.95, *, effective: float | None = None
) -> float | None:
    """Return an upper estimate of the p quantile that holds with `confidence`, or None when the sample cannot carry it.

    Args:
        sorted_values: ascending, in any unit.
        p: 0.9 for p90.
        confidence: of the estimate being at or above the true quantile.
        effective: how many independent values the sample is worth (see `effective_count`); its length when None.
    """
    count = len(sorted_values)
    worth = count if effective is None else min(count, int(effective))
    rank = tail_rank(worth, p, confidence)
    if rank is None:
        return None
    # The rank was found for `worth` values; the same share of all of them lies at or beyond the estimate.
    return sorted_values[count - rank * count // worth]


def needed_samples(p: float, confidence: float = 0.95) -> int:
    """Return the fewest independent values that carry the p quantile (p90: 46, p99: 473 at 95 %)."""
    enough = 2
    while tail_rank(enough, p, confidence) is None:
        enough *= 2
    candidates = range(enough // 2, enough + 1)
    # Carrying is monotone in the count: more values never carry less.
    return candidates[bisect_left(candidates, True, key=lambda count: tail_rank(count, p, confidence) is not None)]


def effective_count(series: Sequence[Sequence[float]]) -> float:
    """Return how many independent values several autocorrelated series are worth together, by batch means.

    tau = b * var(means of batches of b) / var(values), both inside the series, b = floor(sqrt(length)); n / tau, tau at least 1 (Law, Simulation
    Modeling and Analysis, section 9.5). It is computed on ranks, because quantiles are: one stall among a thousand inferences must not hide how alike the
    others are. What differs between series (blocks) is not in it; that is what the interval of the p50 tells.

    Args:
        series: the values of each block in the order in which they were taken.
    """
    total = sum(len(values) for values in series)
    between, batches, within, values_left = 0.0, 0, 0.0, 0
    for values in filter(len, series):
        ranks = _centred_ranks(values)
        size = math.isqrt(len(values))
        means = [math.fsum(ranks[i : i + size]) / size for i in range(0, len(ranks) - size + 1, size)]
        between += size * math.fsum(mean * mean for mean in means)
        batches += len(means) - 1
        within += math.fsum(rank * rank for rank in ranks)
        values_left += len(ranks) - 1
    if within == 0 or batches == 0:
        return float(total)
    return total / max(1.0, (between / batches) / (within / values_left))


def _centred_ranks(values: Sequence[float]) -> list[float]:
    """Return each value's rank less the mean rank; equal values share theirs."""
    ordered = sorted(values)
    middle = len(values) / 2
    return [(bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 - middle for value in values]
