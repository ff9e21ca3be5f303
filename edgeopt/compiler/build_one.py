"""One task of a build, on whatever executor: take it from the cache, or let a confined child make it from the last rung that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.cache import TRAINING, VariantCache
from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.compiler.gpu import limits_for
from edgeopt.compiler.plan import Pins
from edgeopt.compiler.rungs import Kept, RungCache
from edgeopt.compiler.stages import Stage
from edgeopt.domain.model import ModelFile
from edgeopt.domain.variant import Recipe, Skipped, Variant
from edgeopt.errors import StoreError


class BuildTask(msgspec.Struct, frozen=True, kw_only=True):
    """One variant to build, or one rung: plain data, so that any Executor can carry it. Paths must mean the same wherever it runs.

    `stages` are the places of the recipe at which work is kept; a rung ends at the last of them. `needs` is the key of the rung that is to be made before. `progress` is a file
    that the child tells in what it does, `curves` a folder for what training looks like.
    """

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
    stages: tuple[Stage, ...] = ()
    is_rung: bool = False
    needs: str | None = None
    progress: str | None = None
    curves: str | None = None


def build_one(task: BuildTask) -> Variant | None:
    """Take a variant from the cache or build it there; for a rung see that it is there, and answer None.

    Raises:
        StoreError: the cache cannot be written.
    """
    cache = VariantCache(Path(task.cache))
    try:
        if task.is_rung:
            with cache.room(task.key) as folder:
                _build_in(folder.parent, None, task)
            return None
        found = cache.find(task.key, task.name, task.recipe)
        if found is not None:
            return found
        with cache.room(task.key) as folder:
            answer = _build_in(folder.parent, folder, task)
            return cache.keep(task.key, folder, task.name, task.recipe, answer)
    except ConfinedFailure as failure:
        return Skipped(name=task.name, recipe=task.recipe, reason=_reason(failure))
    except OSError as error:
        raise StoreError(
            f"{task.cache}: cannot be written: {error}", hint="Free some space, or set EDGEOPT_HOME."
        ) from error


def _build_in(room: Path, out: Path | None, task: BuildTask) -> dict[str, Any]:
    """Let a child do what is left of the steps, and keep what is worth it. The answer's time counts what the rungs took."""
    rungs = RungCache(Path(task.cache))
    reached, begin = _begin(rungs, task.stages, room / "begin")
    done = 0 if reached is None else reached.after
    missing = [stage for stage in task.stages if stage.after > done]
    end = task.stages[-1].after if out is None else None
    if done == end:
        return {}
    folders = {stage.key: room / "kept" / str(stage.after) for stage in missing}
    request = {
        "source": task.source,
        "files": msgspec.to_builtins(task.files),
        "begin": {"folder": str(room / "begin"), "notes": begin.notes} if begin else None,
        "steps": msgspec.to_builtins(task.recipe.steps[done:end]),
        "keep": [(stage.after - done, str(folders[stage.key])) for stage in missing],
        "samples": {"path": task.samples, "names": list(task.sample_names), "count": task.sample_count}
        if task.samples
        else None,
        "pins": msgspec.to_builtins(task.pins),
        "out": None if out is None else str(out),
        "progress": task.progress,
        "training": str(Path(task.cache) / TRAINING),
        "curves": task.curves,
    }
    limits = limits_for(task.limits, [step["name"] for step in request["steps"]])
    answer = run_confined("build", request, limits=limits, workdir=room, group=task.group)
    before, confinement = begin.build_s if begin else 0.0, answer["confinement"]
    confinement["peak_memory_bytes"] = _most(confinement["peak_memory_bytes"], begin)
    for stage, made in zip(missing, answer["kept"], strict=True):
        rungs.keep(
            stage.key,
            folders[stage.key],
            notes=made["notes"],
            build_s=before + made["build_s"],
            peak_memory_bytes=confinement["peak_memory_bytes"],
        )
    confinement["wall_s"] = round(before + confinement["wall_s"], 3)
    return answer


def _begin(rungs: RungCache, stages: tuple[Stage, ...], folder: Path) -> tuple[Stage | None, Kept | None]:
    """The last stage that is there, its files in `folder`."""
    for stage in reversed(stages):
        kept = rungs.take(stage.key, folder)
        if kept is not None:
            return stage, kept
    return None, None


def _most(peak: int | None, begin: Kept | None) -> int | None:
    known = [value for value in (peak, begin.peak_memory_bytes if begin else None) if value is not None]
    return max(known, default=None)


def _reason(failure: ConfinedFailure) -> str:
    """A sentence for the table."""
    match failure.kind:
        case "refused":
            return failure.detail
        case "error":
            return f"building it failed: {failure.detail}"
        case _:
            return f"building it was given up: {failure.detail}"
