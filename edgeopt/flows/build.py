"""From a job to variants: plan, build, and compare each with the original on samples that calibration never saw."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.confine import ConfinedFailure
from edgeopt.compiler.fidelity import Mismatch, compare
from edgeopt.compiler.outputs import host_outputs
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.observer import Observer
from edgeopt.domain.variant import Built, Fidelity, Skipped, Variant
from edgeopt.errors import ModelError
from edgeopt.flows.prepare import Job
from edgeopt.profiles.places import Places

Outputs = list[list[Any]]
"""Samples x outputs, as numpy arrays."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, and the original's answers on the held-out samples (None when there are no samples)."""

    variants: tuple[Variant, ...]
    teacher: Any


def build(job: Job, places: Places, observer: Observer) -> Build:
    """Build every variant that the model, the profile and the samples allow, and score each on this computer.

    Raises:
        ModelError: the original cannot answer the samples at all.
        StoreError, BuildFailed: this computer cannot build.
    """
    planned = plan_variants(
        job.model, job.profile, recipes=job.recipes, has_samples=job.calibration is not None, budget=job.budget
    )
    variants = build_variants(
        planned,
        model_path=job.model_path,
        model=job.model,
        calibration=job.calibration,
        cache=places.cache,
        observer=observer,
    )
    if job.heldout is None:
        return Build(variants=variants, teacher=None)
    teacher = _teacher(job)
    observer.stage("score", "compare with the original", float(len(variants)))
    scored = []
    for done, variant in enumerate(variants):
        observer.advance("score", float(done), variant.name)
        scored.append(_score(variant, job, teacher))
    observer.finish("score")
    return Build(variants=tuple(scored), teacher=teacher)


def built_only(variants: Sequence[Variant]) -> tuple[Built, ...]:
    """Return the variants that exist."""
    return tuple(variant for variant in variants if isinstance(variant, Built))


def _answers(graph: Path, job: Job) -> Outputs:
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        return host_outputs(graph, job.heldout, workdir=Path(folder))


def _teacher(job: Job) -> Outputs:
    try:
        return _answers(job.model_path, job)
    except ConfinedFailure as failure:
        msg = f"{job.model_path}: the model does not run on the samples: {failure.detail}"
        raise ModelError(
            msg,
            hint="Check the preprocessing in edgeopt.toml against what the model expects (edgeopt inspect).",
            code="model-failed",
        ) from failure


def _score(variant: Variant, job: Job, teacher: Outputs) -> Variant:
    if isinstance(variant, Skipped):
        return variant
    try:
        outputs = teacher if not variant.recipe.steps else _answers(Path(variant.folder) / variant.files[0].path, job)
        fidelity = compare(
            teacher,
            outputs,
            task=job.model.task,
            where="host",
            inputs=job.model.inputs,
            names=job.heldout.items,
            seed=job.plan.seed,
        )
    except ConfinedFailure as failure:
        return Skipped(
            name=variant.name, recipe=variant.recipe, reason=f"it was built, but does not run here: {failure.detail}"
        )
    except Mismatch as mismatch:
        return Skipped(
            name=variant.name,
            recipe=variant.recipe,
            reason=f"its answers have another form than the original's: {mismatch}",
        )
    return _judge(variant, fidelity)


def _judge(variant: Built, fidelity: Fidelity) -> Variant:
    if not fidelity.finite:
        return Skipped(
            name=variant.name, recipe=variant.recipe, reason="it answers NaN or infinity where the original does not"
        )
    return msgspec.structs.replace(variant, fidelity=fidelity, fidelity_reason=None)
