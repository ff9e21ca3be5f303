"""What every variant of a labelled model answers, computed once and kept as one .npz per model: graded damage, and what our own recipes prune."""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from damage import variants
from labelled import Labelled

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.variant import Built
from edgeopt.profiles.load import load_profile
from edgeopt.samples.record import make_samples

Array = np.ndarray[Any, np.dtype[Any]]
BATCH = 10
PRUNED = ("pruned-10", "pruned-20", "pruned-30", "pruned-10-int8", "pruned-20-int8")
"""Recipes, as they are with the instant budget: not trained afterwards."""


def answers(labelled: Labelled, cache: Path) -> dict[str, Array]:
    """Return {variant: scores [N, C]}, `original` first."""
    digest = hashlib.sha256(labelled.model.read_bytes() + labelled.inputs.tobytes()).hexdigest()[:12]
    kept = cache / f"{labelled.name.replace(' ', '-')}-{digest}.npz"
    if kept.is_file():
        with np.load(kept) as file:
            return {name: file[name] for name in file.files}
    found: dict[str, Array] = {}
    with tempfile.TemporaryDirectory() as folder:
        feeds = _feeds(labelled)
        for name, path in (
            *variants(labelled.model, feeds, Path(folder)),
            *_pruned(labelled.model, feeds, Path(folder)),
        ):
            begun = time.perf_counter()
            found[name] = _run(path, labelled.inputs)
            print(f"{labelled.name}: {name} answered in {time.perf_counter() - begun:.0f} s", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(kept, **found)
    return found


def _pruned(model: Path, feeds: list[dict[str, Array]], folder: Path) -> list[tuple[str, Path]]:
    """(recipe, file) of what our recipes make; what they refuse is said and left out."""
    info = inspect_model(model)
    planned = plan_variants(info, load_profile("local"), recipes=PRUNED, has_samples=True, budget="instant")
    samples = make_samples(list(feeds[0]), [list(feed.values()) for feed in feeds], source="the model's own pictures")
    made = build_variants(planned, model_path=model, model=info, calibration=samples, cache=folder / "pruned")
    for variant in made:
        if not isinstance(variant, Built):
            print(f"{model.name}: {variant.name} is left out: {variant.reason}", flush=True)
    return [(v.name, Path(v.folder) / v.files[0].path) for v in made if isinstance(v, Built) and v.recipe.steps]


def _feeds(labelled: Labelled) -> list[dict[str, Array]]:
    session = onnxruntime.InferenceSession(labelled.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [{name: row[None]} for row in labelled.calibration]


def _run(path: Path, inputs: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (declared,) = session.get_inputs()
    size = declared.shape[0] if isinstance(declared.shape[0], int) else BATCH
    rows = [session.run(None, {declared.name: inputs[i : i + size]})[0] for i in range(0, len(inputs), size)]
    return np.concatenate([row.reshape(len(row), -1) for row in rows])
