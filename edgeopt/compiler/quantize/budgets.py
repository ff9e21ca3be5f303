"""How much a search for int8 tries. Pure: counted, never timed, so that every computer finds the same network for the same seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much is tried.

    `work` bounds, in multiplications, how many samples each bias correction sees: never in seconds, because a slow computer must find the same network. `samples` is
    the most that helps.
    """

    name: str
    samples: int
    work: float
    search: bool

    def corrected_by(self, work_of_a_sample: float, passes: int, count: int) -> int:
        """How many of `count` samples correct the biases: each is run once for every pass, half of the network on average, since a pass stops at its layer."""
        affordable = self.work / (work_of_a_sample * passes * 0.75)
        return int(min(max(affordable, min(16, count)), self.samples, count))


BUDGETS = {
    "instant": Budget(name="instant", samples=32, work=1.2e12, search=False),
    "standard": Budget(name="standard", samples=64, work=5e12, search=True),
    "deep": Budget(name="deep", samples=256, work=5e13, search=True),
}
"""Two cores with AVX-512 do 8e10 multiplications in a second: 15 s, a minute, ten minutes for one correction at the most."""

WORK_OF_AN_ELEMENT = 40
"""Multiplications that take as long as to quantise, dequantise and copy one value between layers (fitted on nine networks of 0.3 M to 1.8 G multiplications)."""

SCREENED_BY = 0.25
"""Share of the samples that a choice is corrected with before it is known to be good."""

FINALISTS = 2
"""Choices that are corrected with all samples."""

JUDGED_BY = 48
"""Samples that choices are judged by."""
