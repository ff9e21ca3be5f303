"""A training run on disk, so that one that was killed goes on to the same bytes: one file of arrays, replaced as a whole."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
"""Goes up when training takes other steps, or keeps other things: what an older edgeopt left behind is no run to go on from."""

NAME = "run.npz"
RECORD = "record"
"""The array that holds the JSON."""


def save(folder: Path, arrays: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write arrays by name and a JSON-able record; the file is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    text = np.frombuffer(json.dumps(record, sort_keys=True).encode(), np.uint8)
    buffer = io.BytesIO()
    # Names of constants may hold anything, so arrays go by numbers, and the record says which is which.
    np.savez(
        buffer,
        allow_pickle=False,
        **{RECORD: text, "names": _coded(list(arrays)), **{f"a{i}": a for i, a in enumerate(arrays.values())}},
    )
    fresh = folder / f"{NAME}.{os.getpid()}.tmp"
    with fresh.open("wb") as stream:
        stream.write(buffer.getbuffer())
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(folder / NAME)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(arrays, record) of what `save` wrote; None when there is nothing, or it is damaged."""
    try:
        with (folder / NAME).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = json.loads(archive["names"].tobytes())
            record = json.loads(archive[RECORD].tobytes())
            return {name: archive[f"a{i}"] for i, name in enumerate(names)}, record
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _coded(value: Any) -> Any:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)
