"""A model's answers on this computer, computed in a confined child."""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.domain.model import ModelInfo
from edgeopt.errors import SamplesError
from edgeopt.samples.record import Samples, read_npz, write_npz

START_S, SAMPLE_S = 120.0, 10.0
"""Time given to load a model, and to each sample: slow networks of small boards take a second here."""

OUTPUT_BYTES = 2 << 30
BUDGET_BYTES = 512 << 20
"""Answers that are wished for: the original's and a variant's are in memory at once."""

Array = np.ndarray[Any, np.dtype[Any]]


def most_samples(model: ModelInfo, budget_bytes: int = BUDGET_BYTES) -> int:
    """How many samples' answers fit in a budget, judged by the signature: open axes count as 1, an unknown rank as one value. At least 1."""
    each = sum(np.dtype(spec.dtype).itemsize * prod(_known(spec.shape)) for spec in model.outputs)
    return max(1, budget_bytes // max(1, each))


def _known(shape: tuple[int | str | None, ...] | None) -> list[int]:
    return [axis if isinstance(axis, int) else 1 for axis in shape or ()]


def host_outputs(model: Path, samples: Samples, *, workdir: Path, limits: Limits | None = None) -> list[list[Array]]:
    """Answers, samples x outputs in the order of the signature.

    Args:
        model: the graph's file; its external data lies beside it.
        samples: exactly as fed.
        workdir: exists; files are made in a folder inside and removed.
        limits: of the child; `output_bytes` bounds all answers together. By default the time grows with the number of samples.

    Raises:
        ConfinedFailure: the model crashes, hangs, refuses the samples, or answers too much.
    """
    limits = limits or Limits(timeout_s=START_S + SAMPLE_S * len(samples), output_bytes=OUTPUT_BYTES)
    with tempfile.TemporaryDirectory(prefix="outputs-", dir=workdir) as folder:
        inputs, answers = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        write_npz(samples, inputs)
        request = {
            "model": str(model.absolute()),
            "samples": {"path": str(inputs), "names": list(samples.names), "count": len(samples)},
            "out": str(answers),
        }
        done = run_confined("run_model", request, limits=limits, workdir=Path(folder))
        try:
            read = read_npz(answers, done["outputs"], "this computer", max_bytes=limits.output_bytes + (64 << 20))
        except SamplesError as error:
            raise ConfinedFailure("error", f"its answers cannot be read: {error}") from error
    return [list(row) for row in read.arrays]
