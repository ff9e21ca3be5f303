"""Two candidates compared inside rounds, where the board was in the same state: log-ratios, their interval, and what it would take to tell them apart.

Which interval is used follows from the number of rounds and the confidence alone, never from the values, so that its confidence holds: the exact signed-rank
interval where one exists, which is at 2^-rounds <= alpha on each side, Student's t interval of the mean below.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import msgspec

from edgeopt.select.statistics import hodges_lehmann
from edgeopt.select.student import t_quantile

MIN_FOR_T = 3
"""Two values have a spread in name only."""
POWER = 0.8
_MOST_ROUNDS = 1000


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """A difference of logarithms with its interval; `rounds` carried it."""

    low: float
    middle: float
    high: float
    rounds: int


def differences(mine: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return `mine` less `theirs` in every round that has both, by round. Values are logarithms of levels."""
    return [mine[number] - theirs[number] for number in sorted(mine.keys() & theirs.keys())]


def paired_interval(values: Sequence[float], alpha: float) -> Paired | None:
    """Return the interval that misses on either side with a probability of at most `alpha`; None when there are too few values.

    Args:
        values: one difference per round.
        alpha: on each side: 0.025 for a two-sided 95 % interval.
    """
    count = len(values)
    if count < MIN_FOR_T:
        return None
    middle, low, high = hodges_lehmann(values, 2 * alpha)
    if low is not None and high is not None:
        return Paired(low=low, middle=middle, high=high, rounds=count)
    middle = statistics.fmean(values)
    reach = t_quantile(1 - alpha, count - 1) * statistics.stdev(values) / math.sqrt(count)
    return Paired(low=middle - reach, middle=middle, high=middle + reach, rounds=count)


def detectable(spread: float, rounds: int, alpha: float = 0.05) -> float:
    """Return the smallest difference that `rounds` rounds find with a probability of 80 %: (t(1 - alpha/2) + t(0.8)) * spread / sqrt(rounds).

    The usual formula for a paired t test (Chow, Shao, Wang, Sample Size Calculations in Clinical Research, section 3.1), with t in place of normal quantiles.

    Args:
        spread: standard deviation of the differences of rounds.
        rounds: at least 2.
        alpha: two-sided.
    """
    freedom = rounds - 1
    return (t_quantile(1 - alpha / 2, freedom) + t_quantile(POWER, freedom)) * spread / math.sqrt(rounds)


def rounds_to_tell(difference: float, spread: float) -> int | None:
    """Return how many rounds in all would tell `difference` from 0 with a probability of 80 %; None when 1000 would not."""
    candidates = range(MIN_FOR_T, _MOST_ROUNDS + 1)
    # More rounds never find less.
    place = bisect_left(candidates, True, key=lambda rounds: detectable(spread, rounds) <= abs(difference))
    return candidates[place] if place < len(candidates) else None
