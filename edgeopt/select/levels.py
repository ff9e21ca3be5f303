"""Levels, tails and regimes of what clean blocks measured: an estimate with its interval, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from edgeopt.domain.pick import Regime
from edgeopt.domain.run import Block
from edgeopt.select.blocks import block_ms, flags_of, levels_inside
from edgeopt.select.regimes import two_levels
from edgeopt.select.statistics import (
    MIN_FOR_INTERVAL,
    early_stopping_quantile,
    effective_count,
    hodges_lehmann,
    needed_samples,
)
from edgeopt.select.wording import ms, percent


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate with its interval. `reason` says why the value, or its interval, is None."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def level(values: Sequence[float], nothing: str, unit: str) -> Level:
    """Estimate on logarithms.

    Args:
        values: positive.
        nothing: why there may be no value.
        unit: what the values are, for the reason.
    """
    if not values:
        return Level(reason=nothing)
    middle, low, high = hodges_lehmann([math.log(value) for value in values])
    if low is None or high is None:
        reason = f"a 95 % interval needs {MIN_FOR_INTERVAL} {unit}, there are {len(values)}"
        return Level(value=math.exp(middle), reason=reason)
    return Level(value=math.exp(middle), low=math.exp(low), high=math.exp(high))


def p50(clean: Sequence[Block], regimes: Sequence[Regime], nothing: str) -> Level:
    """Return the level of the blocks' medians in ms; none where they have two levels."""
    if clean and regimes:
        return Level(reason=f"it has two levels, {told(regimes)}, and no single one")
    return level([block_ms(block) for block in clean], nothing, "clean blocks")


def tails(clean: Sequence[Block], shares: Sequence[float], nothing: str) -> list[Level]:
    """Return upper estimates of quantiles in ms over all inferences of clean blocks, where they carry them (see `early_stopping_quantile`)."""
    everything = sorted(latency / 1e6 for block in clean for latency in block.latencies_ns)
    if not everything:
        return [Level(reason=nothing) for _ in shares]
    if any(block.latencies_are != "each" for block in clean):
        return [Level(reason="the device's program tells one value of a block, not each inference") for _ in shares]
    worth = effective_count([block.latencies_ns for block in clean])
    found = []
    for share in shares:
        value = early_stopping_quantile(everything, share, effective=worth)
        needs = f"p{share * 100:.0f} needs {needed_samples(share)} independent inferences, {len(everything)} are worth {worth:.0f}"
        found.append(Level(value=value, reason=needs if value is None else None))
    return found


def of_process(values_ns: Sequence[int | None], nothing: str, unit: str) -> Level:
    """Return the level in ms of what each process does once."""
    known = [value / 1e6 for value in values_ns if value]
    return level(known, "the agent did not tell it" if values_ns else nothing, unit)


def regimes_of(blocks: Sequence[Block], clean: Sequence[Block]) -> tuple[Regime, ...]:
    """Return two levels in ms where clean blocks have two, or where most blocks have two inside; none when one level describes them."""
    between = two_levels(tuple(block_ms(block) for block in clean))
    if between is not None:
        return between
    split = [block for block in blocks if block.failure is None and "two-levels" in flags_of(block)]
    if not split or len(split) * 2 < len(blocks):
        return ()
    inside = [regimes for block in split if (regimes := levels_inside(block)) is not None]
    lower, upper = ([pair[side] for pair in inside] for side in (0, 1))
    return _typical(lower), _typical(upper)


def _typical(parts: Sequence[Regime]) -> Regime:
    middle, _, _ = hodges_lehmann([math.log(part.level) for part in parts])
    return Regime(level=math.exp(middle) / 1e6, share=math.fsum(part.share for part in parts) / len(parts))


def told(regimes: Sequence[Regime]) -> str:
    """Return levels and shares for people."""
    return " and ".join(f"{ms(regime.level)} ({percent(regime.share)})" for regime in regimes)
