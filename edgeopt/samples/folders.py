"""Which files of a folder are samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgeopt.errors import SamplesError
from edgeopt.samples.images import ENDINGS

MAX_FILES = 1_000_000
KINDS = {".npy": ".npy files", ".npz": ".npz files"} | dict.fromkeys(ENDINGS, "images")
FORMS = "Name a folder of images (jpg, png, bmp, webp), .npy or .npz files, one such file, module:function, or texts (.txt, .jsonl) where the model takes tokens."


def find_files(folder: Path, label: str, *, max_files: int = MAX_FILES) -> tuple[list[Path], str]:
    """Files of samples below `folder`, sorted, and what they are (a value of `KINDS`); other files (labels, notes) are passed over.

    Raises:
        SamplesError: samples-empty; samples-mismatch: more than one kind; samples-unreadable: too many files, or a folder cannot be listed.
    """
    found: dict[str, list[Path]] = {}
    for count, path in enumerate(walk(folder)):
        if count >= max_files:
            raise SamplesError(f"{label}: holds more than {max_files:,} files", hint="Name a smaller folder.")
        if kind := KINDS.get(path.suffix.lower()):
            found.setdefault(kind, []).append(path)
    if len(found) > 1:
        counts = " and ".join(f"{len(files)} {kind}" for kind, files in sorted(found.items()))
        raise SamplesError(f"{label}: holds {counts}", hint="Keep one kind in a folder.", code="samples-mismatch")
    if not found:
        raise SamplesError(f"{label}: holds no samples", hint=FORMS, code="samples-empty")
    kind, files = found.popitem()
    return sorted(files), kind


def walk(folder: Path) -> Iterator[Path]:
    """Files below `folder`; hidden ones and links to folders are passed over."""

    def refuse(error: OSError) -> None:
        raise SamplesError(
            f"{error.filename}: cannot be listed: {error.strerror}", hint="Check the folder's owner and name."
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))
