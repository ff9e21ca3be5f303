"""Build what was planned: each variant in its own confined child, cached by content, whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from edgeopt.compiler.cache import VariantCache, variant_key
from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.compiler.executor import Cluster, stop_groups
from edgeopt.compiler.plan import Pins, Planned
from edgeopt.compiler.recipes import ORIGINAL
from edgeopt.domain.model import ModelFile, ModelInfo
from edgeopt.domain.observer import Observer, Silent
from edgeopt.domain.variant import Built, Recipe, Skipped, Variant
from edgeopt.errors import EdgeoptError, ExecutorError, ModelError, StoreError
from edgeopt.samples.record import Samples, write_npz

WORKERS = 2
"""Children side by side. The work is theirs; the threads here only wait."""

BUILD_LIMITS = Limits(timeout_s=3600.0, memory_bytes=6 << 30, output_bytes=(2 << 30) + (64 << 20))


class BuildTask(msgspec.Struct, frozen=True, kw_only=True):
    """One variant to build: plain data, so that any Executor can carry it. Paths must mean the same wherever it runs."""

    key: str
    name: str
    recipe: Recipe
    pins: Pins
    source: str
    files: tuple[ModelFile, ...]
    cache: str
    samples: str | None
    sample_names: tuple[str, ...]
    sample_count: int
    limits: Limits
    group: str


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

    Raises:
        ModelError: the model's files changed since it was inspected.
        StoreError: the cache cannot be written.
    """
    observer = observer or Silent()
    todo = [plan for plan in planned if isinstance(plan, Planned)]
    observer.stage("build", "build variants", float(len(todo)))
    with _workplace(cache, calibration) as samples:
        tasks = [_task(plan, model_path, model, calibration, samples, cache, limits) for plan in todo]
        made = _run_all(tasks, executor, observer)
    variants = [made[plan.name] if isinstance(plan, Planned) else plan for plan in planned]
    observer.finish("build", f"{sum(isinstance(v, Built) for v in variants)} of {len(variants)} variants")
    return _without_twins(variants)


@contextlib.contextmanager
def _workplace(cache: Path, calibration: Samples | None) -> Iterator[Path | None]:
    """Put the calibration samples where children read them; gone afterwards."""
    try:
        folder = VariantCache(cache).work
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="samples-", dir=folder, ignore_cleanup_errors=True) as place:
            path = None
            if calibration is not None and len(calibration):
                path = Path(place) / "calibration.npz"
                write_npz(calibration, path)
            yield path
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
    return BuildTask(
        key=variant_key(model.digest, plan.recipe, plan.pins, used.digest if used is not None else None),
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
    )


def _run_all(tasks: Sequence[BuildTask], executor: Executor | None, observer: Observer) -> dict[str, Variant]:
    """The original by itself, then the rest from its copy, side by side."""
    made: dict[str, Variant] = {}
    rest = list(tasks)
    originals = [task for task in rest if task.name == ORIGINAL.name]
    for task in originals:
        rest.remove(task)
        made[task.name] = original = build_one(task)
        if isinstance(original, Skipped):
            raise ModelError(f"{task.source}: {original.reason}", code="model-unreadable")
        source = str(Path(original.folder) / original.files[0].path)
        rest = [msgspec.structs.replace(other, source=source, files=original.files) for other in rest]
        observer.advance("build", float(len(made)), task.name)
    pool = executor or ThreadPoolExecutor(WORKERS, thread_name_prefix="build")
    by_name = {task.name: task for task in rest}
    try:
        futures: dict[Future[Variant], str] = {pool.submit(build_one, task): task.name for task in rest}
        for future in as_completed(futures):
            made[futures[future]] = _result(future, by_name[futures[future]])
            observer.advance("build", float(len(made)), futures[future])
    except BaseException:
        _stop(executor, [task.group for task in rest])
        raise
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    return made


def _result(future: Future[Variant], task: BuildTask) -> Variant:
    """What came of a task; one that took its worker down with it is given up."""
    try:
        return future.result()
    except EdgeoptError:
        raise
    except CancelledError as error:
        raise ExecutorError(
            f"the executor went away while it built {task.name}",
            hint="What is built is kept; run the same command again.",
            code="executor-lost",
        ) from error
    except Exception as error:  # noqa: BLE001 - every kind of executor has its own words for a dead worker
        reason = f"building it was given up: its worker was lost ({type(error).__name__})"
        return Skipped(name=task.name, recipe=task.recipe, reason=reason)


def _stop(executor: Executor | None, groups: Sequence[str]) -> None:
    """Let no child go on that nobody waits for."""
    if isinstance(executor, Cluster):
        executor.stop(groups)
    else:
        stop_groups(groups)


def build_one(task: BuildTask) -> Variant:
    """Take a variant from the cache or build it there. Runs on any executor.

    Raises:
        StoreError: the cache cannot be written.
    """
    cache = VariantCache(Path(task.cache))
    try:
        found = cache.find(task.key, task.name, task.recipe)
        if found is not None:
            return found
        with cache.room(task.key) as folder:
            answer = _build_in(folder, task)
            return cache.keep(task.key, folder, task.name, task.recipe, answer)
    except ConfinedFailure as failure:
        return Skipped(name=task.name, recipe=task.recipe, reason=_reason(failure))
    except OSError as error:
        raise StoreError(
            f"{task.cache}: cannot be written: {error}", hint="Free some space, or set EDGEOPT_HOME."
        ) from error


def _build_in(folder: Path, task: BuildTask) -> dict[str, object]:
    request = {
        "source": task.source,
        "files": msgspec.to_builtins(task.files),
        "steps": msgspec.to_builtins(task.recipe.steps),
        "samples": {"path": task.samples, "names": list(task.sample_names), "count": task.sample_count}
        if task.samples
        else None,
        "pins": msgspec.to_builtins(task.pins),
        "out": str(folder),
    }
    return run_confined("build", request, limits=task.limits, workdir=folder.parent, group=task.group)


def _reason(failure: ConfinedFailure) -> str:
    """A sentence for the table."""
    match failure.kind:
        case "refused":
            return failure.detail
        case "error":
            return f"building it failed: {failure.detail}"
        case _:
            return f"building it was given up: {failure.detail}"


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
