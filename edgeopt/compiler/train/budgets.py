"""How long a recovery trains. Pure: counted in steps and multiplications, never in seconds, so that every computer trains the same network for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

from edgeopt.compiler.prune.budgets import BUDGETS as PRUNING

BATCH = 32
PASSES = 4.0
"""Forward passes that a step costs: the teacher's, the student's, and two for the student's gradients."""

LEAST_SAMPLES = 24
"""With fewer there is nothing to learn from that could be told from chance."""

LOOKS = 10
"""How often a run is judged, and kept so that it can go on from there."""

LEAST_BETWEEN_LOOKS = 10


@dataclass(frozen=True, kw_only=True)
class RecoveryBudget:
    """`steps` is the most that helps; `work` bounds the multiplications of the whole run. `judged_by` is the most samples that are never trained on and choose the checkpoint.

    They are as many as pruning keeps from what it fits to, and the same: the first ones. Else the untrained network would be judged on what it was made from.
    """

    name: str
    steps: int
    work: float
    judged_by: int

    def held_out(self, samples: int) -> int:
        """How many of the samples judge."""
        return min(self.judged_by, samples // 4)

    def steps_for(self, macs: int | None, batch: int = BATCH, *, moving: int = 0) -> int:
        """Steps of a network of so many multiplications a sample (None: not known, taken as a hundred million), and `moving` to move its weights once."""
        affordable = self.work / (PASSES * batch * max(1, macs if macs is not None else 100_000_000) + moving)
        return max(0, min(self.steps, int(affordable)))


RECOVERY = {
    "instant": RecoveryBudget(name="instant", steps=0, work=0.0, judged_by=PRUNING["instant"].judged_by),
    "standard": RecoveryBudget(name="standard", steps=1000, work=2.4e13, judged_by=PRUNING["standard"].judged_by),
    "deep": RecoveryBudget(name="deep", steps=4000, work=1.5e14, judged_by=PRUNING["deep"].judged_by),
}


def look_every(steps: int) -> int:
    """Steps between two looks at the held-out samples."""
    return max(LEAST_BETWEEN_LOOKS, -(-steps // LOOKS))
