"""Two levels where one was expected: a board that switches clocks, a model that lands on other cores. Such values are shown as two levels and never averaged.

All splits of the sorted values into a lower and an upper part are tried, and the one that leaves the least variance inside the parts is taken (Fisher 1958, "On grouping for
maximum homogeneity", JASA 53; the same as Otsu's threshold). It counts when both parts are large, the levels differ by more than users bear, and the gap is wide against what
varies inside of the parts. A single hump, split in its middle, has a gap of 2.3 (normal) to 2.7 (uniform) robust deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from edgeopt.domain.pick import Regime
from edgeopt.select.statistics import median

GAP = 0.05
"""Levels that are closer are one."""
FEWEST_VALUES = 12
_SHARE = 0.1
_SHARE_OF_FEW = 0.25
"""A few odd values among a few are odd values, no level; _ENOUGH of them are one."""
_ENOUGH = 6
_SEPARATION = 3.0
"""Robust deviations between the levels, in a long series. A few values fall into two groups by chance more easily; see `_needed_separation`."""
_CLIPPED = 20
"""One value in so many at each end is taken as its neighbour, so that stalls do not draw the cut to them. Levels have more values."""
_VALLEY = 0.45
"""So much of the gap is empty, but for a tenth of each part: a long tail is no level."""
_TURNS = 3
"""Each input has run so often before its own cost is known."""
_MOST_VALUES = 2000
_MAD_TO_SIGMA = 1.4826


@lru_cache(maxsize=512)
def two_levels(values: tuple[float, ...] | tuple[int, ...]) -> tuple[Regime, Regime] | None:
    """Return the lower and the upper level with their shares of the values, or None when one level describes them.

    Args:
        values: in any order, in ms or ns; the levels are in the same unit. A broken clock's 0 has no level.
    """
    if len(values) < FEWEST_VALUES or min(values) <= 0:
        return None
    stride = -(-len(values) // _MOST_VALUES)
    logs = [math.log(value) for value in sorted(values)[::stride]]
    fewest = max(math.ceil(_SHARE * len(logs)), min(math.ceil(_SHARE_OF_FEW * len(logs)), _ENOUGH))
    odd = len(logs) // _CLIPPED
    cut = _best_cut([min(max(value, logs[odd]), logs[-1 - odd]) for value in logs], fewest)
    low, high = logs[:cut], logs[cut:]
    gap = median(high) - median(low)
    inside = _MAD_TO_SIGMA * median([abs(v - median(part)) for part in (low, high) for v in part])
    valley = high[len(high) // 10] - low[-1 - len(low) // 10]
    if gap <= math.log1p(GAP) or valley <= _VALLEY * gap or gap <= _needed_separation(len(logs)) * inside:
        return None
    share = cut / len(logs)
    return (
        Regime(level=math.exp(median(low)), share=share),
        Regime(level=math.exp(median(high)), share=1 - share),
    )


def without_inputs(values: Sequence[float], feeds: int | None) -> tuple[float, ...] | None:
    """Return the values freed of what the inputs cost, which is not the board's doing; None when that cannot be told.

    Args:
        values: latencies, one input after the other, again and again.
        feeds: how many inputs took turns; None when it is not known (then they are taken as alike), 0 when the values are not in turn.
    """
    if feeds is None or feeds == 1:
        return tuple(values)
    if feeds == 0 or len(values) < _TURNS * feeds:
        return None
    levels = [median(values[turn::feeds]) for turn in range(feeds)]
    middle = median(levels)
    if min(levels) <= 0:
        return None
    return tuple(value / levels[place % feeds] * middle for place, value in enumerate(values))


def _best_cut(ordered: Sequence[float], fewest: int) -> int:
    """Return how many values the lower part has: the sum of squares between the parts is largest there."""
    count = len(ordered)
    middle = ordered[count // 2]
    sums = list(accumulate(value - middle for value in ordered))

    def between(cut: int) -> float:
        lower = sums[cut - 1]
        upper = sums[-1] - lower
        return lower * lower / cut + upper * upper / (count - cut)

    return max(range(fewest, count - fewest + 1), key=between)


def _needed_separation(count: int) -> float:
    return _SEPARATION * (1 + 50 / count)
