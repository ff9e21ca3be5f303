"""Build what was planned: each variant in its own confined child, cached by content, whole or not at all; what several have in common is made once."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from edgeopt.compiler.build_one import BuildTask, build_one
from edgeopt.compiler.cache import VariantCache, source_key, variant_key
from edgeopt.compiler.confine import Limits
from edgeopt.compiler.dispatch import run_tasks
from edgeopt.compiler.plan import Planned
from edgeopt.compiler.recipes import ORIGINAL
from edgeopt.compiler.rungs import RungCache
from edgeopt.compiler.stages import Rung, Stage, needed_rung, shared_rungs, stages_of
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.observer import Observer, Silent
from edgeopt.domain.variant import Built, Skipped, Variant
from edgeopt.errors import ModelError, StoreError
from edgeopt.samples.record import Samples, write_npz

BUILD_LIMITS = Limits(timeout_s=3600.0, memory_bytes=6 << 30, output_bytes=(2 << 30) + (64 << 20))


def build_variants(  # noqa: PLR0913 - each is the caller's own choice
    planned: Sequence[Planned | Skipped],
    *,
    model_path: Path,
    model: ModelInfo,
    calibration: Samples | None,
    cache: Path,
    executor: Executor | None = None,
    limits: Limits = BUILD_LIMITS,
    observer: Observer | None = None,
    curves: Path | None = None,
) -> tuple[Variant, ...]:
    """Build every planned variant; one that fails is `Skipped` with its reason and never ends the others.

    The original is copied first (and verified to be what was inspected); everything else is built from that copy.

    Args:
        planned: what `plan_variants` gave; the order is kept.
        model_path: the model's file.
        model: as inspected.
        calibration: samples to calibrate on and to check rewritten graphs with; None when there are none.
        cache: folder of everything that can be made again; variants go to `variants/<key>/`.
        executor: where tasks run; two threads by default. Another computer must see `cache` under the same path.
        limits: of each child.
        observer: told of progress.
        curves: folder for what training looks like, a folder in it for each variant that trains.

    Raises:
        ModelError: the model's files changed since it was inspected.
        StoreError: the cache cannot be written.
    """
    observer = observer or Silent()
    todo = [plan for plan in planned if isinstance(plan, Planned)]
    observer.stage("build", "build variants", float(len(todo)))
    with _workplace(cache, calibration) as (place, samples):
        tasks = [_task(plan, model_path, model, calibration, samples, cache, limits) for plan in todo]
        if curves is not None:
            tasks = [msgspec.structs.replace(task, curves=str(curves.absolute() / task.name)) for task in tasks]
        made = _run_all(tasks, place, executor, observer)
    variants = [made[plan.name] if isinstance(plan, Planned) else plan for plan in planned]
    observer.finish("build", f"{sum(isinstance(v, Built) for v in variants)} of {len(variants)} variants")
    return _without_twins(variants)


@contextlib.contextmanager
def _workplace(cache: Path, calibration: Samples | None) -> Iterator[tuple[Path, Path | None]]:
    """A folder that children see, and the calibration samples in it; gone afterwards."""
    try:
        folder = VariantCache(cache).work
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="samples-", dir=folder, ignore_cleanup_errors=True) as place:
            path = None
            if calibration is not None and len(calibration):
                path = Path(place) / "calibration.npz"
                write_npz(calibration, path)
            yield Path(place), path
    except OSError as error:
        raise StoreError(
            f"{cache}: cannot be written: {error}", hint="Free some space, or set EDGEOPT_HOME."
        ) from error


def _task(
    plan: Planned,
    model_path: Path,
    model: ModelInfo,
    calibration: Samples | None,
    samples: Path | None,
    cache: Path,
    limits: Limits,
) -> BuildTask:
    used = calibration if plan.recipe.steps else None
    digest = used.digest if used is not None else None
    return BuildTask(
        key=variant_key(model.digest, plan.recipe, plan.pins, digest),
        name=plan.name,
        recipe=plan.recipe,
        pins=plan.pins,
        source=str(model_path.absolute()),
        files=model.files,
        cache=str(cache.absolute()),
        samples=str(samples) if samples is not None and used is not None else None,
        sample_names=used.names if used is not None else (),
        sample_count=len(used) if used is not None else 0,
        limits=limits,
        group=secrets.token_hex(8),
        stages=stages_of(
            plan.recipe.steps,
            start=source_key(model.digest, min(model.ir_version, plan.pins.max_ir_version)),
            pins=plan.pins,
            samples=digest,
        ),
    )


def _run_all(
    tasks: Sequence[BuildTask], place: Path, executor: Executor | None, observer: Observer
) -> dict[str, Variant]:
    """The original by itself, then the rest from its copy, side by side, what they share before them."""
    made: dict[str, Variant] = {}
    rest = list(tasks)
    originals = [task for task in rest if task.name == ORIGINAL.name]
    for task in originals:
        rest.remove(task)
        original = build_one(task)
        if not isinstance(original, Built):
            raise ModelError(f"{task.source}: {original.reason if original else ''}", code="model-unreadable")
        made[task.name] = original
        source = str(Path(original.folder) / original.files[0].path)
        rest = [msgspec.structs.replace(other, source=source, files=original.files) for other in rest]
        observer.advance("build", float(len(made)), task.name)
    watched = [
        msgspec.structs.replace(task, progress=str(place / f"progress-{number}"))
        for number, task in enumerate(in_order(rest))
    ]

    def tell(done: int, words: str) -> None:
        observer.advance("build", float(done), words)

    return made | run_tasks(watched, build_one, executor=executor, tell=tell, done=len(made))


def in_order(tasks: Sequence[BuildTask]) -> list[BuildTask]:
    """The tasks, and before them what several of them share and the cache does not have."""
    missing = {task.name: _missing(task) for task in tasks}
    rungs = shared_rungs(missing)
    by_name = {task.name: task for task in tasks}
    return [_rung_task(rung, by_name[rung.users[0]]) for rung in rungs] + [
        msgspec.structs.replace(task, needs=needed_rung(missing[task.name], rungs)) for task in tasks
    ]


def _missing(task: BuildTask) -> tuple[Stage, ...]:
    """The stages that a task will have to make; none when the variant is there."""
    if VariantCache(Path(task.cache)).has(task.key):
        return ()
    rungs = RungCache(Path(task.cache))
    reached = max((stage.after for stage in task.stages if rungs.has(stage.key)), default=0)
    return tuple(stage for stage in task.stages if stage.after > reached)


def _rung_task(rung: Rung, user: BuildTask) -> BuildTask:
    """What makes a rung: the beginning of a task that uses it."""
    return msgspec.structs.replace(
        user,
        key=rung.stage.key,
        name=", ".join(rung.users),
        stages=tuple(stage for stage in user.stages if stage.after <= rung.stage.after),
        is_rung=True,
        needs=rung.needs,
        group=secrets.token_hex(8),
    )


def _without_twins(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """A variant that came out like an earlier one is not measured twice."""
    seen: dict[str, str] = {}
    return tuple(_unless_twin(variant, seen) if isinstance(variant, Built) else variant for variant in variants)


def _unless_twin(variant: Built, seen: dict[str, str]) -> Variant:
    graph = variant.provenance["graph_sha256"]
    twin = seen.get(graph)
    if twin is None:
        seen[graph] = variant.name
        return variant
    reason = f"it came out the same as {twin}: this recipe finds nothing to do in the model"
    return Skipped(name=variant.name, recipe=variant.recipe, reason=reason)
