"""From a job to variants: plan, build, and compare each with the original on samples that calibration never saw."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.confine import ConfinedFailure
from edgeopt.compiler.estimate import BuildEstimate, duration, estimate_build
from edgeopt.compiler.executor import open_executor
from edgeopt.compiler.fidelity import Mismatch, compare
from edgeopt.compiler.outputs import host_outputs
from edgeopt.compiler.plan import Planned, plan_variants
from edgeopt.compiler.score.codes import real_answers
from edgeopt.compiler.score.synthetic import on_synthetic
from edgeopt.compiler.speed import host_speed
from edgeopt.compiler.tools import installed_tools
from edgeopt.domain.observer import Observer
from edgeopt.domain.variant import Built, Fidelity, Skipped, Variant
from edgeopt.errors import ModelError
from edgeopt.flows.fitted import with_fitted_pictures
from edgeopt.flows.prepare import Job
from edgeopt.profiles.places import Places
from edgeopt.samples.text import without_padding

WORTH_SAYING_S = 30.0
"""People wait so long without asking how long it will take."""

Outputs = list[list[Any]]
"""Samples x outputs, as numpy arrays."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, and the original's answers on the held-out samples (None when there are no samples). `job` is the one that was built in the end."""

    job: Job
    variants: tuple[Variant, ...]
    teacher: Any


def build(job: Job, places: Places, observer: Observer) -> Build:
    """Build every variant that the model, the profile and the samples allow, and score each on this computer.

    The original answers first: a model that does not take the samples need not be built. One that does not take invented samples that nobody asked for is
    built without any.

    Raises:
        ModelError: the original cannot answer the samples at all.
        StoreError, BuildFailed: this computer cannot build.
        ExecutorError, ConfigError: the cluster that was named cannot be used.
    """
    job, teacher = _answered(with_fitted_pictures(job, places, observer), observer)
    planned = plan_job(job)
    seconds = expected_build(job, planned).seconds
    if seconds is not None and seconds > WORTH_SAYING_S:
        observer.note(f"building takes about {duration(seconds)} here, less what is kept from before")
    with open_executor(job.executor, places.cache) as executor:
        variants = build_variants(
            planned,
            model_path=job.model_path,
            model=job.model,
            calibration=job.calibration,
            cache=places.cache,
            executor=executor,
            observer=observer,
            curves=job.curves,
        )
    if teacher is None:
        return Build(job=job, variants=variants, teacher=None)
    observer.stage("score", "compare with the original", float(len(variants)))
    scored = []
    for done, variant in enumerate(variants):
        observer.advance("score", float(done), variant.name)
        scored.append(_score(variant, job, teacher))
    observer.finish("score")
    return Build(job=job, variants=tuple(scored), teacher=teacher)


def plan_job(job: Job) -> tuple[Planned | Skipped, ...]:
    """Return what is to be built, by the job's own wishes."""
    return plan_variants(
        job.model,
        job.profile,
        recipes=job.recipes,
        has_samples=job.calibration is not None,
        synthetic=is_synthetic(job),
        drawn=job.samples_info.source.removeprefix("synthetic: ") if job.samples_info is not None else "",
        budget=job.budget,
        recovery=job.recovery,
        student=job.student,
        installed=installed_tools(),
        unavailable=job.unavailable,
    )


def expected_build(job: Job, planned: Sequence[Planned | Skipped]) -> BuildEstimate:
    """How long building what was planned takes on this computer, from nothing."""
    samples = 0 if job.calibration is None else len(job.calibration)
    return estimate_build(planned, job.model, samples=samples, speed=host_speed())


def is_synthetic(job: Job) -> bool:
    """Tell whether the job's samples were invented."""
    return job.samples_info is not None and job.samples_info.synthetic


def compare_answers(
    job: Job, teacher: Outputs, outputs: Outputs, *, where: Literal["host", "device"], names: Sequence[str]
) -> Fidelity:
    """Score a variant's answers; on invented samples without the claims that would not hold.

    Raises:
        Mismatch: the answers have another form.
    """
    fidelity = compare(
        without_padding(real_answers(teacher, job.model.outputs), job.heldout),
        without_padding(real_answers(outputs, job.model.outputs), job.heldout),
        task=job.model.task,
        where=where,
        inputs=job.model.inputs,
        names=names,
        seed=job.plan.seed,
    )
    return on_synthetic(fidelity) if is_synthetic(job) else fidelity


def built_only(variants: Sequence[Variant]) -> tuple[Built, ...]:
    """Return the variants that exist."""
    return tuple(variant for variant in variants if isinstance(variant, Built))


def _answers(graph: Path, job: Job) -> Outputs:
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        return host_outputs(graph, job.heldout, workdir=Path(folder))


def _answered(job: Job, observer: Observer) -> tuple[Job, Outputs | None]:
    """The job and the original's answers to its held-out samples, None when there are none."""
    if job.heldout is None:
        return job, None
    try:
        return job, _teacher(job)
    except ModelError as error:
        if job.samples_named:
            raise
        observer.note(f"synthetic samples are left out: {error.message}")
        return msgspec.structs.replace(job, calibration=None, heldout=None, samples_info=None, assumed=None), None


def _teacher(job: Job) -> Outputs:
    try:
        return _answers(job.model_path, job)
    except ConfinedFailure as failure:
        msg = f"{job.named}: the model does not run on the samples: {failure.detail}"
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
        fidelity = compare_answers(job, teacher, outputs, where="host", names=job.heldout.items)
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
    return _judge(_told(variant, job), fidelity)


def _told(variant: Built, job: Job) -> Built:
    """What a variant was calibrated on is part of it."""
    if job.samples_info is None or not variant.recipe.needs_samples:
        return variant
    told = [f"calibrated on {job.samples_info.calibration} samples: {job.samples_info.source}", job.assumed]
    return msgspec.structs.replace(variant, notes=(*variant.notes, *(note for note in told if note)))


def _judge(variant: Built, fidelity: Fidelity) -> Variant:
    if not fidelity.finite:
        return Skipped(
            name=variant.name, recipe=variant.recipe, reason="it answers NaN or infinity where the original does not"
        )
    return msgspec.structs.replace(variant, fidelity=fidelity, fidelity_reason=None)
