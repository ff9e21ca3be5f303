"""A against B in one session, as a gate of regressions judges it: both run in every round, and B fails only when it is slower by more than a margin for sure.

A stored figure is no A: sessions differ by more than the margin. Rounds, not inferences, are what is counted, as those of one process share its luck.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Literal

import msgspec

from edgeopt.select.paired import detectable, differences, paired_interval

MARGIN = 0.02


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """B against A: `ratio` of B's time to A's with its 95 % interval, over `rounds`.

    `detectable` is the smallest change (a share of 1) that so many rounds find with a probability of 80 %: what a pass is worth. Numbers are None when there are too
    few rounds, and the verdict is inconclusive then.
    """

    verdict: Literal["pass", "regress", "inconclusive"]
    rounds: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None


def compare(a_ms: Mapping[int, float], b_ms: Mapping[int, float], margin: float = MARGIN) -> Comparison:
    """Judge B.

    Args:
        a_ms: round -> level of A's block in ms, clean blocks only.
        b_ms: the same of B.
        margin: how much slower B may be, a share of 1; 0 calls every slowdown that is shown a regression.
    """
    values = differences(*({number: math.log(ms) for number, ms in levels.items()} for levels in (b_ms, a_ms)))
    found = paired_interval(values, 0.025)
    if found is None:
        return Comparison(verdict="inconclusive", rounds=len(values))
    allowed = math.log1p(margin)
    verdict: Literal["pass", "regress", "inconclusive"] = "inconclusive"
    if found.low > allowed:
        verdict = "regress"
    elif found.high <= allowed:
        verdict = "pass"
    return Comparison(
        verdict=verdict,
        rounds=found.rounds,
        ratio=math.exp(found.middle),
        low=math.exp(found.low),
        high=math.exp(found.high),
        detectable=math.expm1(detectable(statistics.stdev(values), found.rounds)),
    )
