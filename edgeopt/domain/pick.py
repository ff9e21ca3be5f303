"""What statistics say of a candidate, and the choice with its reasons."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeopt.domain.energy import Energy
from edgeopt.domain.goal import Goal
from edgeopt.domain.prior import PriorCheck

Verdict = Literal["trusted", "inconclusive", "contaminated"]


class Regime(msgspec.Struct, frozen=True, kw_only=True):
    """One of two levels between which something switches, and the share (0 to 1) of what was measured that was at it."""

    level: float
    share: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate. Latencies in ms, memory and size in bytes; None comes with a sentence in `reasons` under the field's name.

    `p50_ms` is the Hodges-Lehmann level of the block medians with its exact 95 % interval `p50_low_ms`, `p50_high_ms`. `p90_ms` is the early-stopping
    order statistic over all clean blocks, and so is `p99_ms`. `energy_mj` is the net energy of an inference, by which candidates are ranked; `energy` has the rest. `ratio` compares with the original inside rounds (1 is equal, below 1 is faster), with its interval.
    `load_ms` and `first_ms` (the first inference of a fresh process) are levels with intervals, too. `regimes`: two levels in ms with their shares, where there is
    no single one; of blocks, or of the inferences of blocks with the flag `two-levels`.

    Latency is that of the run's scenario: of the slowest of a multi-stream query, from the scheduled time at a fixed rate, time per inference offline. `throughput` is
    inferences a second where several run at once, `late_share` the share of scheduled inferences that had to wait for the one before.
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
    p99_ms: float | None = None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    load_ms: float | None
    load_low_ms: float | None = None
    load_high_ms: float | None = None
    first_ms: float | None
    first_low_ms: float | None = None
    first_high_ms: float | None = None
    peak_memory_bytes: int | None
    energy_mj: float | None
    agreement: float | None
    agreement_lower: float | None
    agreement_where: Literal["device", "host"] | None
    verdict: Verdict
    throughput: float | None = None
    late_share: float | None = None
    reasons: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    energy: Energy | None = None
    regimes: tuple[Regime, ...] = ()


class Loser(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate or variant that was not chosen, and the sentence that says why."""

    name: str
    reason: str


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The chosen candidate (None when the goal is not met or the measurement does not say), and a reason for every other.

    `more_time` says what more rounds would buy, None when they would buy nothing.

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
    more_time: str | None = None
