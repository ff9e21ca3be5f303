"""Does a candidate keep the limits of the goal? A sentence for each that it does not.

A limit is judged by the conservative end of what was measured. Where the limit lies inside of the interval the sentence says that it was *not shown* to be
kept: that is a doubt, which a longer measurement may lift, and not a breach.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Summary
from edgeopt.domain.run import Run
from edgeopt.select.blocks import ORIGINAL, block_ms, clean_blocks
from edgeopt.select.objection import Objection, why
from edgeopt.select.wording import BYTES_PER_MB, interval, megabytes, ms, number, percent


def broken_limits(run: Run, goal: Goal, summary: Summary) -> tuple[Objection, ...]:
    """Return an objection for every limit that the candidate breaks or was not shown to keep. `run` has its raw blocks."""
    return (*broken_by_nature(run, goal, summary), *_quantities(run, goal, summary))


def broken_by_nature(run: Run, goal: Goal, summary: Summary) -> tuple[Objection, ...]:
    """Return the objections that no further round can lift: evidence, agreement and size."""
    return (*_evidence(run, goal, summary), *_agreement(goal, summary), *_size(goal, summary))


def latency_doubts(run: Run, goal: Goal, summary: Summary) -> bool:
    """Tell whether it is still open if the candidate keeps the limits of its latency."""
    return any(not objection.certain for objection in _latency(run, goal, summary))


def is_too_slow(run: Run, goal: Goal, summary: Summary) -> bool:
    """Tell whether it is certain that the candidate breaks a limit of its latency."""
    return any(objection.certain for objection in _latency(run, goal, summary))


def _evidence(run: Run, goal: Goal, s: Summary) -> Iterator[Objection]:
    """Agreement on invented inputs is a doubt that the user may lift."""
    invented = run.samples is not None and run.samples.synthetic
    counts = goal.min_agreement and s.agreement is not None and s.variant != ORIGINAL
    if invented and counts and not goal.accept_synthetic:
        sentence = "its agreement was measured on synthetic inputs only; accept that with --accept-synthetic, or give samples of your own"
        yield Objection(sentence=sentence, certain=False)


def _agreement(goal: Goal, s: Summary) -> Iterator[Objection]:
    """The original agrees with itself, whatever another machine's rounding makes of it."""
    least, most = goal.min_agreement, goal.max_certified_accuracy_drop
    if s.variant == ORIGINAL:
        return
    if least and s.agreement is None:
        sentence = (
            f"its agreement with the original is not known, the goal asks for {percent(least)}: {why(s, 'agreement')}"
        )
        yield Objection(sentence=sentence, certain=False)
    elif least and s.agreement is not None and s.agreement < least:
        bound = "" if s.agreement_lower is None else f" (at least {percent(s.agreement_lower)} with 95 % confidence)"
        sentence = f"agrees with the original in {percent(s.agreement)}{bound} on the {s.agreement_where}, the goal asks for {percent(least)}"
        yield Objection(sentence=sentence, certain=True)
    if most is not None and s.agreement_lower is None:
        sentence = f"no accuracy drop can be certified, the goal allows {percent(most)}: {why(s, 'agreement_lower')}"
        yield Objection(sentence=sentence, certain=False)
    elif most is not None and s.agreement_lower is not None and 1 - s.agreement_lower > most:
        # Even perfect agreement leaves a bound, so only the observed disagreement tells a breach from too few samples.
        certain = s.agreement is not None and 1 - s.agreement > most
        sentence = f"its accuracy may fall by {percent(1 - s.agreement_lower)} (95 % confidence), the goal allows {percent(most)}"
        yield Objection(
            sentence=sentence + ("" if certain else "; more samples make this bound tighter"), certain=certain
        )


def _size(goal: Goal, s: Summary) -> Iterator[Objection]:
    if goal.max_size_mb is not None and s.size_bytes > goal.max_size_mb * BYTES_PER_MB:
        sentence = f"its size is {megabytes(s.size_bytes)}, the goal allows {number(goal.max_size_mb)} MB"
        yield Objection(sentence=sentence, certain=True)


def _latency(run: Run, goal: Goal, s: Summary) -> Iterator[Objection]:
    if goal.max_latency_p50_ms is not None and s.p50_ms is not None:
        yield from _p50(run, goal.max_latency_p50_ms, s)
    if goal.max_latency_p90_ms is not None and s.p50_ms is not None:
        yield from _p90(run, goal.max_latency_p90_ms, s)


def _quantities(run: Run, goal: Goal, s: Summary) -> Iterator[Objection]:
    yield from _latency(run, goal, s)
    if goal.max_memory_mb is not None:
        yield from _memory(goal.max_memory_mb, s)
    if goal.asks_for_energy and s.energy_mj is None:
        yield Objection(sentence=f"its energy is not known: {why(s, 'energy_mj')}", certain=False)


def _p50(run: Run, limit: float, s: Summary) -> Iterator[Objection]:
    """Too few blocks for an interval: the slowest and the fastest of them stand for its ends."""
    blocks = [block_ms(block) for block in clean_blocks(run, s.candidate)]
    low = min(blocks) if s.p50_low_ms is None else s.p50_low_ms
    high = max(blocks) if s.p50_high_ms is None else s.p50_high_ms
    if high <= limit:
        return
    ends = f"{interval(low, high)} over {len(blocks)} blocks" if s.p50_high_ms is None else interval(low, high)
    measured = f"its p50 is {ms(s.p50_ms or 0)}{ends}"
    yield _over(measured, limit, certain=low > limit)


def _p90(run: Run, limit: float, s: Summary) -> Iterator[Objection]:
    if s.p90_ms is None:
        sentence = f"not shown to be within {ms(limit)} at p90: {why(s, 'p90_ms')}"
        yield Objection(sentence=sentence, certain=False)
    elif s.p90_ms > limit:
        everything = sorted(latency / 1e6 for block in clean_blocks(run, s.candidate) for latency in block.latencies_ns)
        observed = everything[int(0.9 * len(everything))]
        measured = f"its p90 is {ms(observed)}, at most {ms(s.p90_ms)} with 95 % confidence"
        yield _over(measured, limit, certain=observed > limit)


def _over(measured: str, limit: float, *, certain: bool) -> Objection:
    if certain:
        return Objection(sentence=f"{measured}, the goal allows {ms(limit)}", certain=True)
    return Objection(sentence=f"not shown to be within {ms(limit)}: {measured}", certain=False)


def _memory(limit_mb: float, s: Summary) -> Iterator[Objection]:
    allowed = f"{number(limit_mb)} MB"
    if s.peak_memory_bytes is None:
        sentence = f"not shown to be within {allowed} of memory: {why(s, 'peak_memory_bytes')}"
        yield Objection(sentence=sentence, certain=False)
    elif s.peak_memory_bytes > limit_mb * BYTES_PER_MB:
        sentence = f"its peak memory is {megabytes(s.peak_memory_bytes)}, the goal allows {allowed}"
        yield Objection(sentence=sentence, certain=True)
