"""What a deploy would do, and how long the board would be busy, before it is touched."""

from __future__ import annotations

import msgspec

from edgeopt.domain.observer import Observer
from edgeopt.domain.variant import Skipped
from edgeopt.flows.build import plan_job
from edgeopt.flows.prepare import prepare
from edgeopt.flows.request import Request
from edgeopt.profiles.places import Places
from edgeopt.select.rounds import estimate_seconds


class PlannedVariant(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of the plan; `reason` says why it would be left out."""

    name: str
    title: str
    encoding: str
    reason: str | None = None


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """The plan. `device_seconds` is an upper estimate: candidates that fall behind are dropped early."""

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


def dry_run(request: Request, places: Places, observer: Observer) -> DryRun:
    """Plan without building anything and without touching the device."""
    job = prepare(request, places, observer)
    planned = plan_job(job)
    variants = tuple(
        PlannedVariant(
            name=p.name if isinstance(p, Skipped) else p.recipe.name,
            title=p.recipe.title,
            encoding=p.recipe.encoding,
            reason=p.reason if isinstance(p, Skipped) else None,
        )
        for p in planned
    )
    candidates = sum(1 for v in variants if v.reason is None) * len(job.threads)
    return DryRun(
        app=job.app,
        device=job.device.name,
        profile=job.profile.name,
        model=str(job.model_path),
        model_bytes=job.model.bytes,
        samples=job.samples_info.count if job.samples_info else 0,
        variants=variants,
        candidates=candidates,
        rounds=job.plan.rounds,
        device_seconds=estimate_seconds(job.plan, candidates),
    )
