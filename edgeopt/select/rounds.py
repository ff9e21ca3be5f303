"""The schedule of a measurement: who runs when, who is not worth more time, how long it will take. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from edgeopt.domain.goal import Objective
from edgeopt.domain.run import Block, Candidate, MeasurePlan
from edgeopt.select.blocks import ORIGINAL, block_ms, is_clean
from edgeopt.select.statistics import median
from edgeopt.select.wording import number

ROUNDS_BEFORE_DROP = 2
OVERHEAD_S = 1.5
"""What a block costs beside its inferences: a process, the runtime's import, the model's load. A desktop needs less, a Pi two to four times as long."""


def round_order(candidate_ids: Sequence[str], seed: int, round_: int) -> tuple[str, ...]:
    """Return the order of round `round_`, counted from 0: random, and the same for the same seed on every machine and Python.

    Sorted by a digest, so the order given does not matter, and who is left keeps its place among the others when one is dropped.
    """
    return tuple(
        sorted(
            candidate_ids,
            key=lambda name: hashlib.sha256(f"{seed}/{round_}/{name}".encode("utf-8", "replace")).digest(),
        )
    )


def drop_dominated(
    blocks: Sequence[Block], candidates: Sequence[Candidate], ratio: float = 1.3, *, objective: Objective = "latency"
) -> dict[str, str]:
    """Return the candidates that are not worth more time, each with the sentence that says why.

    Gross dominance (measuring notes: a race's first look, which needs no distribution): after two rounds, a candidate whose block was more than `ratio`
    times that of the leader, or of the original where that was faster, in *every* round in which both were clean. The leader has the lowest
    median over its clean blocks. The original is never dropped. A slow candidate may be the smallest, so with another objective nobody is.

    Args:
        blocks: so far.
        candidates: still in the race.
        ratio: above 1.
        objective: of the goal.
    """
    levels = {candidate.id: _levels(blocks, candidate.id) for candidate in candidates}
    raced = {name: found for name, found in levels.items() if len(found) >= ROUNDS_BEFORE_DROP}
    if objective != "latency" or not raced:
        return {}
    leader = min(raced, key=lambda name: (median(list(raced[name].values())), name))
    kept = {candidate.id for candidate in candidates if candidate.variant == ORIGINAL}
    best = _best_of_round([levels[name] for name in {leader, *kept}])
    dropped = {}
    for name in sorted(raced.keys() - kept):
        times = [level / best[round_] for round_, level in raced[name].items() if round_ in best]
        if len(times) >= ROUNDS_BEFORE_DROP and min(times) > ratio:
            dropped[name] = (
                f"in each of {len(times)} rounds it took at least {number(min(times))} times as long as the leader ({leader}) or the original, so it was not measured further"
            )
    return dropped


def _levels(blocks: Sequence[Block], name: str) -> dict[int, float]:
    return {block.round: block_ms(block) for block in blocks if block.candidate == name and is_clean(block)}


def _best_of_round(levels: Sequence[Mapping[int, float]]) -> dict[int, float]:
    rounds = {round_ for found in levels for round_ in found}
    return {round_: min(found[round_] for found in levels if round_ in found) for round_ in rounds}


def estimate_seconds(plan: MeasurePlan, candidates: int, load_s: float = OVERHEAD_S) -> float:
    """Return for how many seconds a device will be busy: all rounds of all candidates, and one process each for the answers.

    An upper estimate where an inference is fast and candidates are dropped; one inference that takes longer than `block_min_s` makes it longer.

    Args:
        plan: how long and how often.
        candidates: how many.
        load_s: seconds that a block needs to start its process, import the runtime and load the model.
    """
    block_s = load_s + plan.warmup_min_s + plan.block_min_s
    return candidates * (plan.rounds * block_s + load_s)
