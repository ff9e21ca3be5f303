"""From raw blocks to one summary per candidate: levels with intervals, doubts, and a reason for everything unknown.

Rules:
- Only clean blocks count (`blocks.is_clean`); flagged and failed ones are counted and shown.
- A level is the Hodges-Lehmann estimate of the blocks' medians, on logarithms, because slowdowns multiply.
- A comparison with the original is made inside rounds, where the board was in the same state.
- Memory is the largest high-water mark: a limit must hold for every start, not for the typical one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeopt.domain.pick import Summary, Verdict
from edgeopt.domain.run import Block, Candidate, OutputCheck, Run
from edgeopt.domain.variant import Built, Fidelity
from edgeopt.errors import RunUnreadable
from edgeopt.select import levels
from edgeopt.select.arrivals import late_share, throughput
from edgeopt.select.blocks import EXCLUDING, block_ms, clean_blocks, flags_of, is_flagged, is_timed, original_of
from edgeopt.select.energy import energy_of, ranked_mj
from edgeopt.select.levels import Level, level, regimes_of
from edgeopt.select.wording import percent

TRUSTED_HALF_WIDTH = 0.05
"""A p50 whose interval reaches further than 5 % from its level is not trusted: the differences that matter are of that size."""


NO_BOUND = "only the top-1 agreement of a classifier has a bound"
"""For runs that were saved before records said it themselves."""


def summarise(run: Run) -> tuple[Summary, ...]:
    """Return a summary of every candidate, in the run's order. Depends on the run alone.

    Raises:
        RunUnreadable: a candidate of the run names a variant that was not built.
    """
    return tuple(_summary(run, candidate) for candidate in run.candidates)


def _summary(run: Run, candidate: Candidate) -> Summary:
    variant = _variant_of(run, candidate)
    blocks = [block for block in run.blocks if block.candidate == candidate.id]
    clean = clean_blocks(run, candidate.id)
    nothing = _why_nothing(run, candidate.id, blocks)
    # What a person accepts as disturbed is taken as it is.
    regimes = () if run.plan.accept_disturbed else regimes_of(blocks, clean)
    p50 = levels.p50(clean, regimes, nothing)
    p90, p99 = levels.tails(clean, (0.9, 0.99), nothing)
    ratio = _ratio(run, candidate, clean, nothing)
    load = levels.of_process([block.load_ns for block in clean], nothing, "clean blocks")
    first = levels.of_process([block.first_ns for block in clean], nothing, "clean blocks")
    peak = max((block.peak_rss_bytes for block in clean if block.peak_rss_bytes is not None), default=None)
    fidelity, reasons = _agreement(run, candidate, variant)
    verdict, doubt = _verdict(run, candidate.id, blocks, clean, p50)
    reasons |= {"peak_memory_bytes": "the agent did not tell it" if clean else nothing} if peak is None else {}
    reasons |= _reasons(p50, "p50_ms", "p50_low_ms", "p50_high_ms") | _reasons(p90, "p90_ms") | _reasons(p99, "p99_ms")
    reasons |= _reasons(load, "load_ms", "load_low_ms", "load_high_ms")
    reasons |= _reasons(first, "first_ms", "first_low_ms", "first_high_ms")
    reasons |= _reasons(ratio, "ratio", "ratio_low", "ratio_high")
    energy, unmeasured = energy_of(run, candidate)
    energy_mj, unranked = (None, unmeasured) if energy is None else ranked_mj(energy)
    reasons |= {"energy": unmeasured} if energy is None else {}
    reasons |= ({"energy_mj": unranked} if energy_mj is None else {}) | ({"verdict": doubt} if doubt else {})
    rate, no_rate = throughput(run.plan, clean)
    late, not_late = late_share(run.plan, clean)
    reasons |= ({"throughput": no_rate} if no_rate else {}) | ({"late_share": not_late} if not_late else {})
    return Summary(
        candidate=candidate.id,
        variant=variant.name,
        threads=candidate.setting.threads,
        encoding=variant.encoding,
        size_bytes=variant.bytes,
        blocks=len(blocks),
        flagged_blocks=sum(is_flagged(block) for block in blocks),
        failed_blocks=sum(block.failure is not None for block in blocks),
        p50_ms=p50.value,
        p50_low_ms=p50.low,
        p50_high_ms=p50.high,
        p90_ms=p90.value,
        p99_ms=p99.value,
        ratio=ratio.value,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        load_ms=load.value,
        load_low_ms=load.low,
        load_high_ms=load.high,
        first_ms=first.value,
        first_low_ms=first.low,
        first_high_ms=first.high,
        peak_memory_bytes=peak,
        energy_mj=energy_mj,
        agreement=None if fidelity is None else fidelity.agreement,
        agreement_lower=None if fidelity is None else fidelity.agreement_lower,
        agreement_where=None if fidelity is None else fidelity.where,
        verdict=verdict,
        throughput=rate,
        late_share=late,
        reasons=reasons,
        flags=tuple(sorted({flag for block in blocks for flag in flags_of(block)})),
        regimes=regimes,
        energy=energy,
    )


def _variant_of(run: Run, candidate: Candidate) -> Built:
    for variant in run.variants:
        if isinstance(variant, Built) and variant.name == candidate.variant:
            return variant
    raise RunUnreadable(
        f"run {run.id}: candidate {candidate.id} is of variant {candidate.variant}, which was not built",
        hint="The saved run is damaged; measure again with `edgeopt bench`.",
    )


def _why_nothing(run: Run, candidate: str, blocks: Sequence[Block]) -> str:
    """Why a candidate may have no clean block at all."""
    check = output_check(run, candidate)
    if not blocks and check is not None and check.failure is not None:
        return f"it was not timed, because its answers could not be had: {check.failure.detail}"
    if not blocks:
        return "it was not timed"
    failures = [block.failure.detail for block in blocks if block.failure is not None]
    if len(failures) == len(blocks):
        return f"every block failed: {failures[-1]}"
    return f"no clean block among {len(blocks)}: {_disturbances(blocks)}"


def _disturbances(blocks: Sequence[Block]) -> str:
    """Say what happened to the blocks that do not count: `3 foreign-load, 1 failed`."""
    counted = Counter(
        flag for block in blocks if block.failure is None for flag in EXCLUDING.intersection(flags_of(block))
    )
    counted["failed"] = sum(block.failure is not None for block in blocks)
    counted["without times"] = sum(not is_timed(block) for block in blocks)
    return ", ".join(f"{count} {name}" for name, count in sorted(counted.items()) if count)


def _ratio(run: Run, candidate: Candidate, clean: Sequence[Block], nothing: str) -> Level:
    original = original_of(run, candidate)
    if original is None:
        return Level(reason="the original was not measured with as many threads")
    if not clean:
        return Level(reason=nothing)
    if original.id == candidate.id:
        return Level(value=1.0, low=1.0, high=1.0)
    theirs = {block.round: block_ms(block) for block in clean_blocks(run, original.id)}
    ratios = [block_ms(block) / theirs[block.round] for block in clean if block.round in theirs]
    return level(
        ratios, "there is no round in which both it and the original were clean", "rounds shared with the original"
    )


def _reasons(level: Level, *names: str) -> dict[str, str]:
    """Put the level's reason under the name of every field that it leaves None: value, low, high."""
    fields = zip(names, (level.value, level.low, level.high), strict=False)
    return {name: level.reason or "" for name, value in fields if value is None}


def _agreement(run: Run, candidate: Candidate, variant: Built) -> tuple[Fidelity | None, dict[str, str]]:
    """The worse of what the device and the host found, and when they are alike the one that saw more samples.

    The device's kernels round otherwise than the host's, so its answers count; the host has answered more samples, so what only shows there counts, too.
    """
    check = output_check(run, candidate.id)
    found = [f for f in (check.fidelity if check is not None else None, variant.fidelity) if f is not None]
    fidelity = min(found, key=lambda f: (f.agreement, -f.samples), default=None)
    if fidelity is None:
        reason = variant.fidelity_reason or "there are no samples to compare answers on"
        return None, dict.fromkeys(("agreement", "agreement_lower", "agreement_where"), reason)
    if fidelity.agreement_lower is None:
        return fidelity, {"agreement_lower": fidelity.reasons.get("agreement_lower", NO_BOUND)}
    return fidelity, {}


def _verdict(
    run: Run, candidate: str, blocks: Sequence[Block], clean: Sequence[Block], p50: Level
) -> tuple[Verdict, str | None]:
    flagged = sum(is_flagged(block) for block in blocks)
    failed = sum(block.failure is not None for block in blocks)
    if flagged * 2 > len(blocks):
        return "contaminated", f"{flagged} of {len(blocks)} blocks were disturbed: {_disturbances(blocks)}"
    if candidate in run.dropped_early:
        return "inconclusive", f"it was dropped early: {run.dropped_early[candidate]}"
    if p50.value is None or p50.low is None or p50.high is None:
        return "inconclusive", p50.reason
    if failed:
        return "inconclusive", f"{failed} of {len(blocks)} blocks failed"
    reach = max(p50.high / p50.value - 1, 1 - p50.low / p50.value)
    if reach > TRUSTED_HALF_WIDTH:
        return "inconclusive", (
            f"with {len(clean)} clean blocks the interval of p50 reaches {percent(reach)} from its level, more than {percent(TRUSTED_HALF_WIDTH)}"
        )
    return "trusted", None


def output_check(run: Run, candidate: str) -> OutputCheck | None:
    """Return what the device's own answers were found to be worth, None when it was not asked."""
    return next((check for check in run.output_checks if check.candidate == candidate), None)
