"""What a model file is. The caller's side: look at the file from outside, let a confined child read it, say what came of it."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.domain.model import ModelInfo
from edgeopt.errors import ModelError

MAX_FILE_BYTES = 2 << 30
"""protobuf's own bound."""

BASE_MEMORY_BYTES = 2 << 30
MEMORY_PER_BYTE = 6
"""A parsed graph, the checker's copy, the runtime's copy and what it folds and packs."""

TF2ONNX = "tf2onnx (python -m tf2onnx.convert), or let EDGEOPT_TF2ONNX name a Python that has it"

FOREIGN = (
    (0, b"\x89HDF\r\n\x1a\n", "a Keras HDF5 file", TF2ONNX),
    (4, b"ORTM", "a model in ONNX Runtime's own format", "the .onnx file that it was made from"),
    (0, b"PK\x03\x04", "a zip archive (PyTorch and Keras save such files)", "torch.onnx.export or tf2onnx"),
    (0, b"\x80\x02", "a Python pickle", "torch.onnx.export"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "git lfs pull"),
)
SUFFIXES = {
    ".h5": ("a Keras HDF5 file", TF2ONNX),
    ".keras": ("a Keras file", TF2ONNX),
    ".pt": ("a PyTorch file", "torch.onnx.export, or file.py:callable that gives the module"),
    ".pth": ("a PyTorch file", "torch.onnx.export, or file.py:callable that gives the module"),
    ".pb": ("a TensorFlow graph", "tf2onnx"),
}

HINTS = {
    "model-unreadable": "Export or copy the file again and compare sizes.",
    "model-invalid": "Export the model again; `python -m onnx.checker` alone cannot mend it.",
    "model-unconfined": "External data must be plain files in the model's folder. Copy them there (cp -L follows links), or export in one file.",
    "model-unsupported": "edgeopt reads ONNX models that ONNX Runtime runs on its CPU provider, and TensorFlow Lite files that LiteRT runs.",
}


def inspect_model(path: Path, *, timeout_s: float = 60.0) -> ModelInfo:
    """Read, check and load a model in a confined child.

    What is accepted here does load in ONNX Runtime on this computer, or in LiteRT.

    Raises:
        ModelError: model-missing, -unreadable, -invalid, -too-large, -unconfined, -unsupported, -unsafe (reading it crashed, hung or took too much memory).
    """
    return msgspec.convert(ask_child("inspect", path, timeout_s=timeout_s)["model"], ModelInfo)


def ask_child(task: str, path: Path, *, timeout_s: float) -> dict[str, Any]:
    """Give a model's file to a task of the child that takes `{"path"}`, with the memory that its size asks for.

    Raises:
        ModelError: as `inspect_model`.
    """
    size = _look(path)
    limits = Limits(timeout_s=timeout_s, memory_bytes=BASE_MEMORY_BYTES + MEMORY_PER_BYTE * size, output_bytes=64 << 20)
    try:
        with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
            return run_confined(task, {"path": str(path.absolute())}, limits=limits, workdir=Path(folder))
    except ConfinedFailure as failure:
        raise _model_error(path, failure) from failure


def _model_error(path: Path, failure: ConfinedFailure) -> ModelError:
    if failure.kind == "refused":
        return ModelError(f"{path}: {failure.detail}", code=failure.code, hint=HINTS.get(failure.code))
    if failure.kind == "error":
        return ModelError(f"{path}: it could not be read: {failure.detail}", code="model-unreadable")
    return ModelError(
        f"{path}: reading it had to be stopped: {failure.detail}",
        code="model-unsafe",
        hint="Nothing of it was used. A sound model of its size takes seconds; look at where the file comes from.",
    )


def _look(path: Path) -> int:
    """Look at the file from outside, without reading it as a model. Returns its size.

    Raises:
        ModelError: model-missing, -unreadable, -unsupported, -too-large.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            if (path / "saved_model.pb").is_file():
                raise _foreign(path, "a SavedModel of TensorFlow", TF2ONNX)
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a plain file"
            raise ModelError(
                f"{path} is {what}",
                code="model-unreadable",
                hint="Name the .onnx or .tflite file, or a Hugging Face folder (with config.json).",
            )
        with path.open("rb") as stream:
            head = stream.read(32)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file", code="model-missing", hint="Check the path.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}", code="model-unreadable") from error
    if not head:
        raise ModelError(f"{path}: the file is empty", code="model-unreadable", hint=HINTS["model-unreadable"])
    _refuse_foreign(path, head)
    if found.st_size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: {found.st_size / 2**30:.1f} GiB, and 2 GiB is the most", code="model-too-large")
    return found.st_size


def _refuse_foreign(path: Path, head: bytes) -> None:
    """Name other kinds of model files, and the way to ONNX."""
    for offset, magic, what, tool in FOREIGN:
        if head[offset:].startswith(magic):
            raise _foreign(path, what, tool)
    if path.suffix.lower() in SUFFIXES:
        raise _foreign(path, *SUFFIXES[path.suffix.lower()])


def _foreign(path: Path, what: str, tool: str) -> ModelError:
    return ModelError(
        f"{path}: this is {what}; edgeopt reads ONNX models and TensorFlow Lite files",
        code="model-unsupported",
        hint=f"Way to a usable file: {tool}.",
    )
