"""The choice: what is allowed, then one objective, ties to the leaner and simpler, and a sentence for every loser.

Depends on its arguments alone, so a saved run can be picked from again under other limits with no device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from edgeopt.domain.goal import Goal, Objective
from edgeopt.domain.pick import Loser, Pick, Summary
from edgeopt.domain.run import Run
from edgeopt.domain.variant import Built, Skipped
from edgeopt.select.blocks import ORIGINAL
from edgeopt.select.energy import constant_power
from edgeopt.select.guard import worse_than_original
from edgeopt.select.limits import broken_limits
from edgeopt.select.more_time import to_decide_limit, to_tell_apart
from edgeopt.select.objection import Objection, failure_of, measurement_doubts, why
from edgeopt.select.open_rivals import open_rivals
from edgeopt.select.prior import compare
from edgeopt.select.ranking import Weighted, behind, best_of, frontier, shown
from edgeopt.select.wording import interval, number

Status = Literal["picked", "goal-not-met", "inconclusive"]

_PRAISE: dict[Objective, str] = {
    "latency": "the lowest p50 latency",
    "energy": "the lowest energy",
    "memory": "the lowest peak memory",
    "size": "the smallest size",
}


def choose(run: Run, goal: Goal, summaries: Sequence[Summary]) -> Pick:
    """Choose among the candidates of a run.

    Args:
        run: for failures, raw blocks, dropped candidates and skipped variants.
        goal: limits and objective; need not be the run's own.
        summaries: of `summarise(run)`.

    Returns:
        `picked`; or `goal-not-met` when everything measured is certainly out; or `inconclusive` when a better measurement might say otherwise, be it of one candidate that might be better than the best.
    """
    against = {s.candidate: objections(run, goal, s, summaries) for s in summaries}
    feasible = [s for s in summaries if not against[s.candidate]]
    lost = {name: _sentence(found) for name, found in against.items() if found}
    best: Summary | None = None
    if feasible:
        first = best_of(feasible, goal)
        rivals = open_rivals(run, goal, first, [s for s in summaries if _is_doubtful(against[s.candidate])])
        best = None if rivals else first
        status, reason = _still_open(first, rivals, against) if rivals else _picked(first, goal, feasible)
        lost |= {s.candidate: behind(s, first, feasible, goal) for s in feasible if s is not first}
        lost |= (
            {first.candidate: f"may not be the best: {_named(rivals)} could not be measured well enough"}
            if rivals
            else {}
        )
    else:
        status, reason = _nothing(run, goal, summaries, against)
    sound = feasible or [s for s in summaries if not _unsound(run, s)]
    return Pick(
        status=status,
        goal=goal,
        candidate=None if best is None else best.candidate,
        variant=None if best is None else best.variant,
        reason=reason,
        frontier=frontier(sound, _known(goal, sound)),
        losers=(*(Loser(name=name, reason=why) for name, why in lost.items()), *_never_measured(run)),
        summaries=tuple(summaries),
        more_time=_more_time(run, goal, best, feasible, [s for s in summaries if _is_doubtful(against[s.candidate])]),
        prior=compare(run.priors, summaries),
        energy_note=constant_power([s.energy for s in summaries if s.energy is not None]),
    )


def objections(run: Run, goal: Goal, s: Summary, summaries: Sequence[Summary]) -> tuple[Objection, ...]:
    """Return everything that speaks against a candidate; nothing when it may be picked. After a failure nothing else matters."""
    failure = failure_of(run, s.candidate)
    if failure is not None:
        return (failure,)
    return (*measurement_doubts(run, s), *broken_limits(run, goal, s), *worse_than_original(run, goal, s, summaries))


def _is_doubtful(found: Sequence[Objection]) -> bool:
    return bool(found) and not any(objection.certain for objection in found)


def _more_time(
    run: Run, goal: Goal, best: Summary | None, feasible: Sequence[Summary], doubtful: Sequence[Summary]
) -> str | None:
    """What is open: who of two comes first, or whether the nearest keeps the limit."""
    if best is None:
        return to_decide_limit(run, goal, best_of(doubtful, goal)) if doubtful else None
    return to_tell_apart(run, best, feasible) if goal.objective == "latency" and not goal.weights else None


def _unsound(run: Run, s: Summary) -> bool:
    """Tell whether a candidate is no alternative under any limits."""
    return failure_of(run, s.candidate) is not None or any(measurement_doubts(run, s))


def _nothing(
    run: Run, goal: Goal, summaries: Sequence[Summary], against: Mapping[str, Sequence[Objection]]
) -> tuple[Status, str]:
    """Say why there is no pick. What is only doubtful may yet be good, so then the answer is not a no."""
    if goal.asks_for_energy and all(s.energy_mj is None for s in summaries):
        advice = "Measure with --energy where there is a power sensor or a meter, or choose another objective: latency, memory or size."
        return "inconclusive", f"energy was not measured: {run.energy_reason}. {advice}"
    if all(s.p50_ms is None for s in summaries):
        first = next((f"; {s.candidate}: {_sentence(against[s.candidate])}" for s in summaries), "")
        return "inconclusive", f"no candidate could be measured{first}"
    doubtful = [s for s in summaries if _is_doubtful(against[s.candidate])]
    if doubtful:
        nearest = best_of(doubtful, goal)
        return (
            "inconclusive",
            f"no candidate was shown to meet the goal; the nearest, {nearest.candidate}: {_sentence(against[nearest.candidate])}",
        )
    measured = [s for s in summaries if s.p50_ms is not None]
    fewest = min(len(against[s.candidate]) for s in measured)
    nearest = best_of([s for s in measured if len(against[s.candidate]) == fewest], goal)
    return (
        "goal-not-met",
        f"the nearest to it, {nearest.candidate}, does not keep it: {_sentence(against[nearest.candidate])}",
    )


def _still_open(
    first: Summary, rivals: Sequence[Summary], against: Mapping[str, Sequence[Objection]]
) -> tuple[Status, str]:
    """Say why there is no pick although some candidate was measured well."""
    rival = rivals[0]
    return "inconclusive", (
        f"{_named(rivals)} may be better than {first.candidate}, the best of what could be measured; {rival.candidate}: {_sentence(against[rival.candidate])}"
    )


def _named(summaries: Sequence[Summary]) -> str:
    return ", ".join(s.candidate for s in summaries)


def _known(goal: Goal, summaries: Sequence[Summary]) -> Goal:
    """Alternatives are ranked by latency where the energy is not known."""
    unknown = goal.asks_for_energy and any(s.energy_mj is None for s in summaries)
    return msgspec.structs.replace(goal, objective="latency", weights={}) if unknown else goal


def _sentence(objections: Sequence[Objection]) -> str:
    return "; ".join(objection.sentence for objection in objections)


def _picked(best: Summary, goal: Goal, feasible: Sequence[Summary]) -> tuple[Status, str]:
    many = f"of the {len(feasible)} candidates that meet the goal"
    among = many if len(feasible) > 1 else "and is the only candidate that meets the goal"
    praise = (
        f"the lowest cost by the weights ({Weighted(goal.weights).named()})"
        if goal.weights
        else _PRAISE[goal.objective]
    )
    words = f"it has {praise} ({shown(best, goal)}) {among}"
    doubt = "" if best.verdict == "trusted" else f"; the measurement is {best.verdict}: {why(best, 'verdict')}"
    if best.variant == ORIGINAL:
        return "picked", f"{words}; no variant that meets the goal is better than the original{doubt}"
    return "picked", f"{words}; {_speed(best)}{doubt}"


def _speed(best: Summary) -> str:
    if best.ratio is None:
        return f"how fast it is against the original is not known: {why(best, 'ratio')}"
    times = f"{number(best.ratio)}{interval(best.ratio_low, best.ratio_high)}"
    return f"an inference takes {times} times the original's time"


def _never_measured(run: Run) -> tuple[Loser, ...]:
    measured = {candidate.variant for candidate in run.candidates}
    skipped = [Loser(name=v.name, reason=v.reason) for v in run.variants if isinstance(v, Skipped)]
    pruned = [Loser(name=name, reason=reason) for name, reason in run.pruned.items()]
    told = measured | {name.rsplit("@", 1)[0] for name in run.pruned}
    unused = [v.name for v in run.variants if isinstance(v, Built) and v.name not in told]
    return (
        *skipped,
        *pruned,
        *(Loser(name=name, reason="was built, but the run has no candidate of it") for name in unused),
    )
