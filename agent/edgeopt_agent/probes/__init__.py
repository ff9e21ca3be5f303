"""What the device says of itself. A probe is "what to read" and a pure `parse(text)`; the root of /proc and /sys is a parameter, so that recorded trees can be read.

What cannot be read is None with a reason beside it, never 0.
"""

from __future__ import annotations

import os

from edgeopt_agent.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_BYTES = 1 << 20


def read(root: str, path: str) -> tuple[str | None, str | None]:
    """Read a small text file of /proc or /sys.

    Returns:
        (text, None), or (None, why not).
    """
    full = os.path.join(root, path.lstrip("/"))
    try:
        with open(full, "rb") as stream:
            return stream.read(_MAX_BYTES).decode("utf-8", "replace"), None
    except OSError as error:
        return None, f"{path}: {error.strerror or type(error).__name__}"


def read_number(root: str, path: str) -> int | None:
    """Read a file that holds one decimal number; None when it cannot be read or holds something else."""
    text, _ = read(root, path)
    try:
        return int((text or "").strip())
    except ValueError:
        return None


def listing(root: str, folder: str, prefix: str = "") -> list[str]:
    """Return the sorted paths below `folder` whose names begin with `prefix`; numbers sort as numbers."""
    try:
        found = os.listdir(os.path.join(root, folder.lstrip("/")))
    except OSError:
        return []
    return [f"{folder}/{name}" for name in sorted((n for n in found if n.startswith(prefix)), key=_natural)]


def _natural(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)


def put(record: dict[str, Any], field: str, value: Any, reason: str | None) -> None:
    """Set a field; when its value is None, also why."""
    record[field] = value
    if value is None:
        record[field + "_reason"] = printable(reason or "not known")
