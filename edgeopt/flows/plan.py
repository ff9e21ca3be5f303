"""What a deploy would do, and how long the board would be busy, before it is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from edgeopt.compiler.plan import Planned
from edgeopt.domain.observer import Observer
from edgeopt.domain.prior import Prior
from edgeopt.domain.variant import Skipped
from edgeopt.flows.build import expected_build, plan_job
from edgeopt.flows.energy import wants_energy
from edgeopt.flows.expectation import foresee
from edgeopt.flows.prepare import Job, prepare
from edgeopt.flows.request import Request
from edgeopt.profiles.places import Places
from edgeopt.select.rounds import estimate_energy_seconds, estimate_seconds
from edgeopt.select.settings import screen_outlook


class PlannedVariant(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of the plan; `reason` says why it would be left out.

    `expected_ms` is what the profile's roofline expects with all cores, `times_original` the same over the original's, None with `expected_reason`.
    """

    name: str
    title: str
    encoding: str
    reason: str | None = None
    expected_ms: float | None = None
    times_original: float | None = None
    expected_reason: str | None = None


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """The plan. `rounds` and `device_seconds` are upper limits: candidates that fall behind are dropped early.

    `build_seconds` is for this computer, right within a factor of two or three, for what is not kept from before; None with `build_reason`.
    `cool_down_max_s` before a block at most come on top where the board gets warm.
    `screen_seconds`, a part of `device_seconds`, compare settings; then `candidates` are the most that go on.
    `expectations` are sentences: what is expected of whom, and what would not be measured.
    """

    app: str
    device: str
    profile: str
    model: str
    model_bytes: int
    samples: int
    variants: tuple[PlannedVariant, ...]
    candidates: int
    rounds: int
    device_seconds: float
    build_seconds: float | None = None
    build_reason: str | None = None
    screen_seconds: float = 0.0
    cool_down_max_s: float = 0.0
    expectations: tuple[str, ...] = ()


def dry_run(request: Request, places: Places, observer: Observer) -> DryRun:
    """Plan without building anything and without touching the device."""
    job = prepare(request, places, observer)
    planned = plan_job(job)
    to_build = [p for p in planned if not isinstance(p, Skipped)]
    outlook = foresee(job, [(p.recipe.name, p.recipe.encoding) for p in to_build])
    variants = tuple(_planned(p, outlook.priors) for p in planned)
    building = expected_build(job, planned)
    worth = len(to_build) - len(outlook.lost)
    runtimes = Counter(p.recipe.runtime for p in to_build if p.recipe.name not in outlook.lost)
    screen = screen_outlook(job.plan, job.profile, job.goal, runtimes)
    candidates = screen.candidates or worth * len(job.threads)
    return DryRun(
        app=job.app,
        device=job.device.name,
        profile=job.profile.name,
        model=job.named,
        model_bytes=job.model.bytes,
        samples=job.samples_info.count if job.samples_info else 0,
        variants=variants,
        candidates=candidates,
        rounds=job.plan.most_rounds,
        device_seconds=_device_seconds(job, candidates) + screen.seconds + 120.0 * (job.plan.sustained_minutes or 0.0),
        screen_seconds=screen.seconds,
        cool_down_max_s=job.plan.cool_down_max_s,
        build_seconds=building.seconds,
        build_reason=building.reason,
        expectations=outlook.sentences,
    )


def _device_seconds(job: Job, candidates: int) -> float:
    energy_s = estimate_energy_seconds(job.plan, candidates) if wants_energy(job.plan, job.goal) else 0.0
    return estimate_seconds(job.plan, candidates) + energy_s


def _planned(planned: Planned | Skipped, expected: Mapping[str, Prior]) -> PlannedVariant:
    recipe = planned.recipe
    if isinstance(planned, Skipped):
        return PlannedVariant(name=planned.name, title=recipe.title, encoding=recipe.encoding, reason=planned.reason)
    prior = expected[recipe.name]
    return PlannedVariant(
        name=recipe.name,
        title=recipe.title,
        encoding=recipe.encoding,
        expected_ms=prior.ms,
        times_original=prior.times_original,
        expected_reason=prior.reason,
    )
