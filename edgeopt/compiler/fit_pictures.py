"""Drawn pictures, fitted to what a network's batch norms remember of its training. The caller's side; `train.statistics` is the child's."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.compiler.gpu import VARIABLE, with_gpu
from edgeopt.compiler.progress import read_progress
from edgeopt.compiler.tools import installed_tools
from edgeopt.domain.model import ModelInfo
from edgeopt.errors import SamplesError, StoreError
from edgeopt.samples.record import Samples, make_samples, read_npz, write_npz
from edgeopt.store.blobs import write_atomic

NORM = "BatchNormalization"
FORMAT = 1
"""Raised when the same pictures begin to be moved otherwise."""

LIMITS = Limits(timeout_s=1800.0, memory_bytes=6 << 30, output_bytes=2 << 30)


class NotFitted(Exception):
    """Why pictures stay as they were drawn, in words for people."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """How many norms there were, and how far from what they remember the pictures were and are: mean squared differences, in deviations."""

    norms: int
    before: float
    after: float


def has_norms(model: ModelInfo) -> bool:
    """Whether there is something to fit pictures to: an ONNX file that has batch norms of its own, and takes one picture of floats."""
    floats = len(model.inputs) == 1 and model.inputs[0].dtype in ("float16", "float32")
    return model.format == "onnx" and floats and model.op_counts.get(NORM, 0) > 0


def fit_pictures(
    path: Path, model: ModelInfo, samples: Samples, cache: Path, tell: Callable[[str], None]
) -> tuple[Samples, Fit]:
    """The pictures, moved; of a large network the first ones alone. From the cache where they were moved before.

    Args:
        path: the model's graph.
        model: as inspected; see `has_norms`.
        samples: drawn pictures.
        cache: of the user; they are kept in its folder `fitted`.
        tell: told how far it is, for people.

    Raises:
        NotFitted: PyTorch is missing, or the network cannot be fitted to.
        StoreError: the cache cannot be written.
    """
    torch = installed_tools().get("torch")
    if torch is None:
        raise NotFitted("PyTorch is missing (pip install 'edgeopt[torch]')")
    place = f"{torch} {os.environ.get(VARIABLE, '')}"
    key = hashlib.sha256(f"{FORMAT} {model.digest} {samples.digest} {place}".encode()).hexdigest()
    kept, record = cache / "fitted" / f"{key}.npz", cache / "fitted" / f"{key}.json"
    found = _kept(kept, record, samples)
    if found is not None:
        return found
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=kept.parent) as folder:
            fit = _run(path, samples, Path(folder), tell)
            (Path(folder) / "out.npz").replace(kept)
        write_atomic(record, msgspec.json.encode(fit))
    except OSError as error:
        raise StoreError(f"{kept.parent}: cannot be written: {error}", hint="Set EDGEOPT_HOME.") from error
    again = _kept(kept, record, samples)
    if again is None:
        raise NotFitted("what came of it cannot be read")
    return again


def _run(path: Path, samples: Samples, folder: Path, tell: Callable[[str], None]) -> Fit:
    write_npz(samples, folder / "in.npz")
    request = {
        "model": str(path.absolute()),
        "samples": {"path": str(folder / "in.npz"), "names": list(samples.names), "count": len(samples)},
        "out": str(folder / "out.npz"),
        "progress": str(folder / "progress"),
    }
    try:
        answer = run_confined(
            "fit_pictures",
            request,
            limits=with_gpu(LIMITS),
            workdir=folder,
            watch=lambda: tell(read_progress(folder / "progress")),
        )
    except ConfinedFailure as failure:
        raise NotFitted(failure.detail) from failure
    return Fit(norms=answer["norms"], before=answer["before"], after=answer["after"])


def _kept(kept: Path, record: Path, samples: Samples) -> tuple[Samples, Fit] | None:
    """What lies in the cache; None when it is not there, or damaged."""
    try:
        fit = msgspec.json.decode(record.read_bytes(), type=Fit)
        rows = read_npz(kept, samples.names, samples.source).arrays
    except (OSError, msgspec.MsgspecError, SamplesError):
        return None
    source = f"{samples.source}, fitted to {fit.norms} batch norms"
    made = make_samples(
        samples.names,
        rows,
        source=source,
        synthetic=True,
        notes=samples.notes,
        items=samples.items[: len(rows)],
    )
    return made, fit
