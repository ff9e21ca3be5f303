"""Weights beside the graph may not leave the model's folder. Child side, on the graph read *without* its external data.

A location is an instruction from an untrusted file to read a path. Absolute paths, `..`, links of both kinds and ranges beyond the file are
refused here, before onnx or the runtime resolves them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from edgeopt.compiler.graph_walk import walk_tensors
from edgeopt.compiler.refuse import Refused

EXTERNAL = 1
"""TensorProto.EXTERNAL."""

MAX_FILES = 10_000


def external_files(model: Any, folder: Path, graph_name: str) -> tuple[str, ...]:
    """Paths, relative to `folder`, of the files that the model's tensors lie in, sorted; each checked.

    Raises:
        Refused: model-unconfined, or model-too-large.
    """
    sizes: dict[str, int] = {}
    for tensor in walk_tensors(model):
        if tensor.data_location == EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = _location(entries, tensor.name)
            if location not in sizes:
                sizes[location] = _file_size(folder, location)
            _check_range(entries, tensor.name, location, sizes[location])
        if len(sizes) > MAX_FILES:
            raise Refused("model-too-large", f"its weights lie in more than {MAX_FILES:,} files")
    if graph_name in sizes:
        raise _unconfined("tensor data is said to lie in the graph's own file")
    return tuple(sorted(sizes))


def _unconfined(message: str) -> Refused:
    return Refused("model-unconfined", message)


def _location(entries: dict[str, str], tensor: str) -> str:
    location = entries.get("location", "")
    path = PurePosixPath(location)
    if not location or "\0" in location or "\\" in location or any(ord(c) < 32 for c in location):
        raise _unconfined(f"tensor {tensor[:80]!r} has external data without a usable file name")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _unconfined(f"external data {location[:200]!r} is outside of the model's folder")
    return str(path)


def _file_size(folder: Path, location: str) -> int:
    """Size of a plain file with one name, no link anywhere on the way to it."""
    here = folder
    parts = PurePosixPath(location).parts
    for index, part in enumerate(parts):
        here = here / part
        try:
            found = os.lstat(here)
        except (OSError, ValueError) as error:
            raise _unconfined(f"external data file {location[:200]!r} is missing") from error
        last = index == len(parts) - 1
        if stat.S_ISLNK(found.st_mode):
            raise _unconfined(f"external data {location[:200]!r} is reached through a symbolic link")
        if not (stat.S_ISREG(found.st_mode) if last else stat.S_ISDIR(found.st_mode)):
            raise _unconfined(f"external data {location[:200]!r} is not a plain file")
        if last and found.st_nlink > 1:
            raise _unconfined(f"external data {location[:200]!r} is a hard link to another file")
    return found.st_size


def _check_range(entries: dict[str, str], tensor: str, location: str, size: int) -> None:
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
    except ValueError as error:
        raise _unconfined(f"tensor {tensor[:80]!r} has a damaged range in {location[:200]!r}") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise _unconfined(
            f"tensor {tensor[:80]!r} wants bytes {offset:,} to {offset + length:,} of {location[:200]!r}, which has {size:,}"
        )
