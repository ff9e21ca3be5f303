"""sha256 of files, and the one digest that names a set of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgeopt.domain.model import ModelFile

GRAPH = "model.onnx"
"""What the graph is called in every variant's folder, and in every digest."""


def hash_file(path: Path) -> tuple[str, int]:
    """(sha256 in hex, size in bytes)."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def describe_files(folder: Path, paths: Sequence[str]) -> tuple[ModelFile, ...]:
    """Each file of `folder` with its digest, in the order given."""
    described = []
    for path in paths:
        digest, size = hash_file(folder / path)
        described.append(ModelFile(path=path, digest=digest, bytes=size))
    return tuple(described)


def digest_files(files: Sequence[ModelFile]) -> str:
    """The digest of a model: of its graph (`files[0]`, whatever it is called) and the files beside it."""
    digest = hashlib.sha256()
    for index, file in enumerate((files[0], *sorted(files[1:], key=lambda f: f.path))):
        name = GRAPH if index == 0 else file.path
        digest.update(f"{file.digest} {file.bytes} {name}\n".encode())
    return digest.hexdigest()
