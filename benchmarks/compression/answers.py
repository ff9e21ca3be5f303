"""What every variant of a labelled model answers, computed once and kept as one .npz per model."""

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

Array = np.ndarray[Any, np.dtype[Any]]
BATCH = 10


def answers(labelled: Labelled, cache: Path) -> dict[str, Array]:
    """Return {variant: scores [N, C]}, `original` first."""
    digest = hashlib.sha256(labelled.model.read_bytes() + labelled.inputs.tobytes()).hexdigest()[:12]
    kept = cache / f"{labelled.name.replace(' ', '-')}-{digest}.npz"
    if kept.is_file():
        with np.load(kept) as file:
            return {name: file[name] for name in file.files}
    found: dict[str, Array] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in variants(labelled.model, _feeds(labelled), Path(folder)):
            begun = time.perf_counter()
            found[name] = _run(path, labelled.inputs)
            print(f"{labelled.name}: {name} answered in {time.perf_counter() - begun:.0f} s", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(kept, **found)
    return found


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
