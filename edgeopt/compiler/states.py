"""A build's state between two steps, as files: a graph, or a calibrated int8 network that has not been written as QDQ yet. Child side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeopt.compiler.digests import GRAPH
from edgeopt.compiler.quantize.saved import Calibrated, load_calibrated, save_calibrated
from edgeopt.compiler.reading import parse, serialise


def save_state(state: Any, folder: Path) -> None:
    """Write it into a folder, which is made.

    Raises:
        TooLarge: a graph has more than 2 GiB.
    """
    folder.mkdir(parents=True)
    if isinstance(state, Calibrated):
        save_calibrated(state, folder)
    else:
        (folder / GRAPH).write_bytes(serialise(state))


def load_state(folder: Path) -> Any:
    """Read what `save_state` wrote."""
    return parse(folder / GRAPH) if (folder / GRAPH).is_file() else load_calibrated(folder)
