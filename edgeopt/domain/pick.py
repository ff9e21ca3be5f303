"""What statistics say of a candidate, and the choice with its reasons."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeopt.domain.energy import Energy
from edgeopt.domain.goal import Goal
from edgeopt.domain.prior import PriorCheck

Verdict = Literal["trusted", "inconclusive", "contaminated"]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate. Latencies in ms, memory and size in bytes; None comes with a sentence in `reasons` under the field's name.

    `p50_ms` is the Hodges-Lehmann level of the block medians with its exact 95 % interval `p50_low_ms`, `p50_high_ms`. `p90_ms` is the early-stopping
    order statistic over all clean blocks. `energy_mj` is the net energy of an inference, by which candidates are ranked; `energy` has the rest. `ratio` compares with the original inside rounds (1 is equal, below 1 is faster), with its interval.
    """

    candidate: str
    variant: str
    threads: int
    encoding: str
    size_bytes: int
    blocks: int
    flagged_blocks: int
    failed_blocks: int
    p50_ms: float | None
    p50_low_ms: float | None
    p50_high_ms: float | None
    p90_ms: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    load_ms: float | None
    first_ms: float | None
    peak_memory_bytes: int | None
    energy_mj: float | None
    agreement: float | None
    agreement_lower: float | None
    agreement_where: Literal["device", "host"] | None
    verdict: Verdict
    reasons: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    energy: Energy | None = None


class Loser(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate or variant that was not chosen, and the sentence that says why."""

    name: str
    reason: str


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The chosen candidate (None when the goal is not met or the measurement does not say), and a reason for every other.

    `prior`: what was expected of each candidate before it was measured, and how that turned out. `energy_note`: that energy tells no more than latency.
    """

    status: Literal["picked", "goal-not-met", "inconclusive"]
    goal: Goal
    candidate: str | None
    variant: str | None
    reason: str
    frontier: tuple[str, ...] = ()
    losers: tuple[Loser, ...] = ()
    summaries: tuple[Summary, ...] = ()
    prior: tuple[PriorCheck, ...] = ()
    energy_note: str | None = None
