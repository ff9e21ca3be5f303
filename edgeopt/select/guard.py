"""Never ship a variant that is worse than the original on the device at hand, in the quantity that the user asked for.

Latency and energy have noise, so a variant must not be *shown* to be slower or hungrier; memory and size are compared as they are. The guard holds whatever the limits
say of the original itself: a limit that rules the original out does not make a worse variant good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from edgeopt.domain.energy import Figure
from edgeopt.domain.goal import Goal, Objective
from edgeopt.domain.pick import Summary
from edgeopt.domain.run import Run
from edgeopt.select.blocks import ORIGINAL, original_of
from edgeopt.select.objection import Objection, failure_of, why
from edgeopt.select.ranking import Weighted
from edgeopt.select.wording import interval, megabytes, number


def worse_than_original(run: Run, goal: Goal, s: Summary, summaries: Sequence[Summary]) -> Iterator[Objection]:
    """Yield why a variant is worse than the original in the goal's objective. Where the original fails on the device, or does not fit, there is nothing to be worse than."""
    original = _original(run, s, summaries)
    failed = original is not None and failure_of(run, original.candidate) is not None
    if s.variant == ORIGINAL or ORIGINAL in run.pruned or failed:
        return
    if goal.weights:
        yield from _costlier(s, original, Weighted(goal.weights))
    elif goal.objective == "latency":
        yield from _slower(s)
    elif original is None:
        yield Objection(
            sentence="cannot be compared with the original, which was not measured with as many threads", certain=False
        )
    else:
        yield from _more_of(goal.objective, s, original)


def _more_of(objective: Objective, s: Summary, original: Summary) -> Iterator[Objection]:
    if objective == "memory":
        yield from _larger("peak memory", s.peak_memory_bytes, original.peak_memory_bytes, megabytes)
    elif objective == "size":
        yield from _larger("size", s.size_bytes, original.size_bytes, megabytes)
    elif s.energy is not None and s.energy.ratio is not None:
        yield from _hungrier(s.energy.ratio)
    elif s.energy_mj is not None:
        yield from _larger("energy", s.energy_mj, original.energy_mj, lambda value: f"{number(value)} mJ")


def _original(run: Run, s: Summary, summaries: Sequence[Summary]) -> Summary | None:
    mine = next((candidate for candidate in run.candidates if candidate.id == s.candidate), None)
    original = None if mine is None else original_of(run, mine)
    return next((other for other in summaries if original is not None and other.candidate == original.id), None)


def _costlier(s: Summary, original: Summary | None, weighted: Weighted) -> Iterator[Objection]:
    """The ratio of costs: latency by its paired interval, whose lower end must not be above 1; all else as it is."""
    if original is None or not math.isfinite(weighted(s)) or not math.isfinite(weighted(original)):
        yield Objection(sentence="cannot be compared with the original in all that has a weight", certain=False)
        return
    cost = weighted(s) / weighted(original)
    share = weighted.shares.get("latency", 0.0)
    if share and s.ratio_low is not None and s.ratio is not None:
        cost *= (s.ratio_low / s.ratio) ** share
    if cost > 1:
        sentence = (
            f"costs more than the original by the weights ({weighted.named()}): at least {number(cost)} times as much"
        )
        yield Objection(sentence=sentence, certain=not share or s.ratio_low is not None)


def _slower(s: Summary) -> Iterator[Objection]:
    if s.p50_ms is not None and s.ratio is None:
        yield Objection(sentence=f"cannot be compared with the original: {why(s, 'ratio')}", certain=False)
    elif s.ratio is not None and s.ratio_low is None and s.ratio > 1:
        sentence = f"seems slower than the original, {number(s.ratio)} times its time: {why(s, 'ratio_low')}"
        yield Objection(sentence=sentence, certain=False)
    elif s.ratio is not None and s.ratio_low is not None and s.ratio_low > 1:
        times = f"{number(s.ratio)}{interval(s.ratio_low, s.ratio_high)}"
        yield Objection(
            sentence=f"is slower than the original with as many threads: {times} times its time", certain=True
        )


def _hungrier(ratio: Figure) -> Iterator[Objection]:
    if ratio.low is None and ratio.value > 1:
        sentence = f"seems to need more energy than the original, {number(ratio.value)} times as much by one window"
        yield Objection(sentence=sentence, certain=False)
    elif ratio.low is not None and ratio.low > 1:
        times = f"{number(ratio.value)}{interval(ratio.low, ratio.high)}"
        yield Objection(
            sentence=f"needs more energy than the original with as many threads: {times} times as much", certain=True
        )


def _larger(word: str, mine: float | None, theirs: float | None, show: Callable[[float], str]) -> Iterator[Objection]:
    if mine is None or theirs is None:
        whose = "its own" if mine is None else "the original's"
        yield Objection(sentence=f"cannot be compared with the original: {whose} {word} is not known", certain=False)
    elif mine > theirs:
        yield Objection(
            sentence=f"its {word} is larger than the original's: {show(mine)} against {show(theirs)}", certain=True
        )
