"""Who might be better than the pick, had it only been measured: a disturbance that hides the best one must not make the second best a sure answer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Summary
from edgeopt.domain.run import Run
from edgeopt.select.blocks import block_ms, clean_blocks, is_timed, original_of
from edgeopt.select.limits import broken_by_nature
from edgeopt.select.objection import failure_of, measurement_doubts
from edgeopt.select.ranking import order_of


def open_rivals(run: Run, goal: Goal, best: Summary, doubtful: Sequence[Summary]) -> tuple[Summary, ...]:
    """Return those of the doubtful candidates that a measurement in quiet might put before the best of the others.

    A disturbance takes time away and gives none, so the fastest of a candidate's blocks, disturbed or not, is no faster than what it would show in quiet. Who is no better even so is out, and so is one that the race
    dropped by clean blocks, and one whose agreement or size no further round can lift.

    Args:
        run: for its blocks.
        goal: what is compared.
        best: the first of those that may be picked.
        doubtful: candidates that were not measured well enough to be picked.
    """
    key, epsilon = order_of(goal)[0]
    return tuple(
        s
        for s in doubtful
        if _is_unmeasured(run, s)
        and not broken_by_nature(run, goal, s)
        and key(_at_best(run, s)) * (1 + epsilon) < key(best)
    )


def _is_unmeasured(run: Run, s: Summary) -> bool:
    """Tell whether it was lost or disturbed, or had no round in common with its original; one that the race dropped by clean blocks was measured well enough."""
    if s.candidate in run.dropped_early:
        return not clean_blocks(run, s.candidate)
    if failure_of(run, s.candidate) is not None or any(measurement_doubts(run, s)):
        return True
    candidate = next(candidate for candidate in run.candidates if candidate.id == s.candidate)
    return s.ratio is None and original_of(run, candidate) is not None


def _at_best(run: Run, s: Summary) -> Summary:
    """What it may be at best: nothing where nothing is known."""
    ended = [b for b in run.blocks if b.candidate == s.candidate and b.failure is None and is_timed(b)]
    return msgspec.structs.replace(
        s,
        p50_ms=min((block_ms(block) for block in ended), default=0.0),
        peak_memory_bytes=max((b.peak_rss_bytes for b in ended if b.peak_rss_bytes is not None), default=0),
        energy_mj=s.energy_mj or 0.0,
    )
