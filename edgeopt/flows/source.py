"""From what the user names as the model to a file that is inspected and built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from edgeopt.compiler.import_model import find_kind, import_model
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.student import differs
from edgeopt.domain.model import ModelInfo, StudentModel
from edgeopt.domain.observer import Observer
from edgeopt.errors import ModelError


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A model's file and what is in it.

    `tokenizer` is the folder that the model came from, when it may have a tokenizer.
    """

    path: Path
    model: ModelInfo
    tokenizer: Path | None = None


def read_source(
    named: Path, cache: Path, observer: Observer, shapes: Mapping[str, Sequence[int]] | None = None
) -> Source:
    """Look at a model; what is no ONNX or TensorFlow Lite file becomes ONNX first. `shapes` are those of inputs, by name.

    Raises:
        ModelError: see `inspect_model` and `import_model`.
        StoreError: the cache cannot be written.
    """
    kind = find_kind(named)
    if kind is None:
        return Source(path=named, model=inspect_model(named))
    observer.stage("import", f"write {named.name} as ONNX")
    imported = import_model(named, kind, cache, shapes)
    observer.finish("import")
    path = Path(imported.path)
    model = inspect_model(path)
    return Source(
        path=path,
        model=msgspec.structs.replace(model, name=_name(named), warnings=(*imported.notes, *model.warnings)),
        tokenizer=named if kind == "huggingface" else None,
    )


def read_student(
    named: Path, model: ModelInfo, cache: Path, observer: Observer, shapes: Mapping[str, Sequence[int]] | None = None
) -> StudentModel:
    """Look at a smaller network that is to learn from the model.

    Raises:
        ModelError: student-unfit: another signature; see `read_source`.
    """
    source = read_source(named, cache, observer, shapes)
    why = differs(model, source.model)
    if why is not None:
        raise ModelError(
            f"{named}: as a student it does not fit: {why}",
            hint="Export it with the model's inputs (names, types, axes) and outputs.",
            code="student-unfit",
        )
    return StudentModel(path=str(source.path.absolute()), digest=source.model.digest, name=source.model.name)


def _name(named: Path) -> str:
    """What people call it: the folder, the file, the callable."""
    return named.name.rpartition(":")[2].removesuffix(".pt2") or named.resolve().name
