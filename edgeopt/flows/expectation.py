"""Before device time is spent: what does not fit into the board, and what is not worth measuring there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.domain.prior import Prior
from edgeopt.domain.run import Candidate, Setting
from edgeopt.domain.variant import Built
from edgeopt.errors import DeviceError
from edgeopt.flows.prepare import Job
from edgeopt.select.blocks import ORIGINAL
from edgeopt.select.prior import FACTOR, does_not_fit, hopeless, planned_bytes, priors


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of each variant by name with all cores, who would not be measured, and both in sentences."""

    priors: Mapping[str, Prior]
    lost: Mapping[str, str]
    sentences: tuple[str, ...]


def foresee(job: Job, planned: Sequence[tuple[str, str]]) -> Outlook:
    """Return what can be said before anything is built or asked.

    Args:
        job: with the model's counts and the profile's rates.
        planned: (variant, encoding), the original among them.
    """
    sizes = {name: (encoding, planned_bytes(job.model, encoding)) for name, encoding in planned}
    candidates = [Candidate(id=name, variant=name, setting=Setting()) for name, _ in planned]
    expected = priors(candidates, job.model, job.profile, sizes, scenario=job.plan.scenario)
    lost = hopeless(candidates, expected, job.goal)
    memory = max(job.profile.ram_mb, default=0) * 1_000_000 or None
    refused = {name: why for name, (_, size) in sizes.items() if (why := does_not_fit(size, memory)) is not None}
    by_name = {prior.candidate: prior for prior in expected}
    return Outlook(priors=by_name, lost=lost | refused, sentences=tuple(_sentences(by_name, lost | refused)))


def _sentences(expected: Mapping[str, Prior], lost: Mapping[str, str]) -> list[str]:
    reasons = list(dict.fromkeys(prior.reason for prior in expected.values() if prior.reason is not None))
    slower = [
        f"{name}: expected to take {prior.times_original:.2g} times the original's time, so it would be measured for its memory and size"
        for name, prior in expected.items()
        if name != ORIGINAL and name not in lost and prior.times_original is not None and prior.times_original > 1.0
    ]
    known = any(prior.ms is not None for prior in expected.values())
    trust = f"Expected times are good to about a factor of {FACTOR:.0f}: they leave out what is hopeless and choose nothing."
    return [
        *([trust] if known else []),
        *(f"No expectation: {reason}." for reason in reasons),
        *slower,
        *(f"{name} {why}" for name, why in lost.items()),
    ]


def that_fit(variants: Sequence[Built], facts: dict[str, Any]) -> tuple[list[Built], dict[str, str]]:
    """Return the variants that the board's memory can hold, and for each other one why not.

    Raises:
        DeviceError: memory-too-small, it can hold none of them.
    """
    total = (facts.get("memory") or {}).get("total_bytes")
    reasons = {variant.name: does_not_fit(variant.bytes, total) for variant in variants}
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    if len(refused) == len(variants):
        least = min(variants, key=lambda variant: variant.bytes)
        raise DeviceError(
            f"the smallest variant, {least.name}, {refused[least.name]}",
            hint="Choose a smaller model, or a board with more memory.",
            code="memory-too-small",
        )
    return [variant for variant in variants if variant.name not in refused], refused


def worth_measuring(
    job: Job, variants: Sequence[Built], candidates: Sequence[Candidate], facts: dict[str, Any]
) -> tuple[tuple[Candidate, ...], tuple[Prior, ...], dict[str, str]]:
    """Return the candidates that are worth device time, what is expected of all of them, and for each other one why not."""
    sizes = {variant.name: (variant.encoding, variant.bytes) for variant in variants}
    features = (facts.get("cpu") or {}).get("features")
    expected = priors(candidates, job.model, job.profile, sizes, features, job.plan.scenario)
    lost = hopeless(candidates, expected, job.goal)
    return tuple(candidate for candidate in candidates if candidate.id not in lost), expected, lost
