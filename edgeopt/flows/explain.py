"""From what a user names, a file or a variant of a folder that `compile --out` wrote, to what of it runs in int8."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeopt.compiler.explain import explain_model
from edgeopt.errors import ModelError, UserError
from edgeopt.report.documents import BuiltEntry, ExplainDocument, SkippedEntry, VariantsDocument

INDEX = "variants.json"


def explain(path: Path, variant: str | None) -> ExplainDocument:
    """Explain a file, or the variant of that name in a folder.

    Raises:
        UserError: the folder has no such variant, or it was skipped: the message says why.
        ModelError: the file cannot be read or loaded.
    """
    if not path.is_dir():
        if variant is not None:
            raise UserError(f"{path} is a file, so it has no variant {variant}", hint="Name the file alone.")
        return ExplainDocument(file=str(path), coverage=explain_model(path))
    entry = _find(path, variant)
    file = path / str(entry.file)
    if entry.format != "onnx":
        raise UserError(
            f"{entry.name} is a file for {entry.runtime}, and only ONNX can be explained here",
            hint="What each of its nodes became stands in a run: `edgeopt runs show last --raw`, under output_checks, placement.",
            code="not-onnx",
        )
    return ExplainDocument(
        file=str(file), variant=entry.name, encoding=entry.encoding, notes=entry.notes, coverage=explain_model(file)
    )


def _find(folder: Path, name: str | None) -> BuiltEntry:
    entries = {entry.name: entry for entry in _read(folder).variants}
    entry = entries.get(name or "")
    built = ", ".join(other.name for other in entries.values() if isinstance(other, BuiltEntry))
    if entry is None:
        message = f"{folder}: no variant is named" if name is None else f"{folder} has no variant {name!r}"
        raise UserError(message, hint=f"There are: {built}. So: edgeopt explain {folder} NAME", code="unknown-variant")
    if isinstance(entry, SkippedEntry):
        raise UserError(
            f"{entry.name} was skipped: {entry.reason}", hint=f"There are: {built}.", code="unknown-variant"
        )
    return entry


def _read(folder: Path) -> VariantsDocument:
    index = folder / INDEX
    hint = "Name a file, or a folder that `edgeopt compile --out` wrote."
    try:
        return msgspec.json.decode(index.read_bytes(), type=VariantsDocument)
    except OSError as error:
        raise ModelError(f"{index}: {error.strerror}", hint=hint, code="model-missing") from error
    except msgspec.MsgspecError as error:
        raise ModelError(f"{index}: {error}", hint=hint, code="model-unreadable") from error
