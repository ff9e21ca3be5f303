"""Which blocks count, and what a block says."""

from __future__ import annotations

import msgspec

from edgeopt.domain.pick import Regime
from edgeopt.domain.run import Block, Candidate, Run
from edgeopt.select.regimes import two_levels, without_inputs
from edgeopt.select.statistics import median

ORIGINAL = "original"
"""Name of the variant that changes nothing. It is always a candidate, never dropped early, and the measure of all others."""

EXCLUDING = frozenset(
    {
        "foreign-load",
        "throttled",
        "throttled-by-quota",
        "slowed",
        "frequency-moved",
        "stopped",
        "clock-step",
        "swapped",
        "unsteady",
        "two-levels",
        "overload",
    }
)
"""Flags that keep a block out of every statistic: the board did something else, or ran at another speed, or had not settled. Other flags only warn."""


def block_ms(block: Block) -> float:
    """Return the block's level, the median of its timed inferences, in ms. The block has inferences."""
    return median(block.latencies_ns) / 1e6


def levels_inside(block: Block) -> tuple[Regime, Regime] | None:
    """Return the two levels, in ns, between which a block's inferences switch for another reason than their inputs; None when there are none."""
    values = without_inputs(block.latencies_ns, block.feeds)
    return None if values is None else two_levels(values)


def flags_of(block: Block) -> tuple[str, ...]:
    """Return the agent's flags, and `two-levels` when the block's inferences switch between two levels, which only its whole series tells."""
    return block.flags if levels_inside(block) is None else (*block.flags, "two-levels")


def is_flagged(block: Block) -> bool:
    """Tell whether a block that ended was disturbed."""
    return block.failure is None and not EXCLUDING.isdisjoint(flags_of(block))


def is_timed(block: Block) -> bool:
    """Tell whether a block that ended has times. An inference of 0 ns is a broken clock, not a result; a failed block is counted as failed."""
    return block.failure is not None or min(block.latencies_ns, default=0) > 0


def is_clean(block: Block) -> bool:
    """Tell whether a block counts: it ended, it has times, and nothing disturbed it."""
    return block.failure is None and not is_flagged(block) and is_timed(block)


def clean_blocks(run: Run, candidate: str) -> tuple[Block, ...]:
    """Return the blocks of a candidate that count, in the order in which they ran: clean ones, or all that ended when the plan accepts disturbed ones."""
    return tuple(block for block in run.blocks if block.candidate == candidate and counts(run, block))


def counts(run: Run, block: Block) -> bool:
    """Tell whether a block counts in this run: it is clean, or it ended and the plan accepts disturbed ones."""
    return is_clean(block) or (run.plan.accept_disturbed and _ended(block))


def _ended(block: Block) -> bool:
    return block.failure is None and is_timed(block)


def original_of(run: Run, candidate: Candidate) -> Candidate | None:
    """Return the original's candidate to compare with: the same setting, else the same threads, else None."""
    originals = [other for other in run.candidates if other.variant == ORIGINAL]
    same = [other for other in originals if other.setting == candidate.setting]
    alike = [other for other in originals if other.setting.threads == candidate.setting.threads]
    return next(iter(same + alike), None)


def accepting_disturbed(run: Run) -> Run:
    """The run as if it had been planned to count blocks that others disturbed. Who was dropped because it had no other block is back."""
    dropped = {name: reason for name, reason in run.dropped_early.items() if clean_blocks(run, name)}
    plan = msgspec.structs.replace(run.plan, accept_disturbed=True)
    return msgspec.structs.replace(run, plan=plan, dropped_early=dropped)
