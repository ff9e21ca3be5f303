"""The schedule of a measurement: who runs when, who is not worth more time, how long it will take. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.statistics import median
from edgeopt.select.wording import number as digits

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


def gross_losers(levels: Mapping[str, Mapping[int, float]], ratio: float, judged: Collection[str]) -> dict[str, str]:
    """Return who is not worth more time, each with the sentence that says why.

    Gross dominance (a race's first look, which needs no distribution): after two rounds, a candidate whose block took more than `ratio` times as long as that of
    the leader in *every* round that both have. The leader has the lowest median over its rounds.

    Args:
        levels: candidate -> round -> logarithm of its block's level.
        ratio: above 1.
        judged: who may be lost; all others are only there to lead.
    """
    raced = {name: found for name, found in levels.items() if len(found) >= ROUNDS_BEFORE_DROP}
    if not raced:
        return {}
    leader = min(raced, key=lambda name: (median(list(raced[name].values())), name))
    lost = {}
    for name in sorted(raced.keys() & set(judged)):
        behind = [level - raced[leader][number] for number, level in raced[name].items() if number in raced[leader]]
        if len(behind) >= ROUNDS_BEFORE_DROP and min(behind) > math.log(ratio):
            least = digits(math.exp(min(behind)))
            lost[name] = (
                f"in each of {len(behind)} rounds it took at least {least} times as long as the leader ({leader}), so it was not measured further"
            )
    return lost


def _scheduled_s(plan: MeasurePlan) -> float:
    """How long the fewest inferences of a block take at a fixed rate, in seconds; 0 without one."""
    if plan.scenario != "fixed-rate" or plan.rate_hz is None:
        return 0.0
    return min(plan.block_min_inferences / plan.rate_hz, plan.block_max_s)


def estimate_seconds(plan: MeasurePlan, candidates: int, load_s: float = OVERHEAD_S) -> float:
    """Return for how many seconds a device will be busy at most: all rounds of all candidates, or the budget, and one process each for the answers.

    Candidates are dropped on the way, so it mostly takes far less; what a warm board needs to cool down comes on top (`cool_down_max_s` before a block at most), and one inference that takes longer than `block_min_s` makes it longer.

    Args:
        plan: how long and how often.
        candidates: how many.
        load_s: seconds that a block needs to start its process, import the runtime and load the model.
    """
    block_s = load_s + plan.warmup_min_s + max(plan.block_min_s, _scheduled_s(plan))
    rounds_s = candidates * plan.most_rounds * block_s
    return candidates * load_s + (rounds_s if plan.budget_s is None else min(rounds_s, plan.budget_s))


def estimate_energy_seconds(plan: MeasurePlan, candidates: int, load_s: float = OVERHEAD_S) -> float:
    """Return for how many seconds energy windows will keep a device busy, with a sensor that is read ten times a second; slower ones take longer."""
    return candidates * plan.energy_rounds * (2 * plan.energy_idle_s + plan.energy_load_s + load_s)
