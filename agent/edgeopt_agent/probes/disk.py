"""The disk under the root: room, and whether it can be written and run from."""

from __future__ import annotations

import os

from edgeopt_agent.errors import printable
from edgeopt_agent.tree import remove_file, temporary_beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def facts(path: str) -> dict[str, Any]:
    """Return the `disk` fact of the file system that holds `path`, or will when it is made. `noexec`: shared libraries cannot be loaded from there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    room = os.statvfs(path)
    reason = _why_not_writable(path)
    record: dict[str, Any] = {
        "path": printable(path),
        "free_bytes": room.f_bavail * room.f_frsize,
        "total_bytes": room.f_blocks * room.f_frsize,
        "writable": reason is None,
        "noexec": bool(room.f_flag & os.ST_NOEXEC),
    }
    if reason is not None:
        record["writable_reason"] = reason
    return record


def _why_not_writable(path: str) -> str | None:
    trial = temporary_beside(os.path.join(path, "x"))
    try:
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        return error.strerror or type(error).__name__
    remove_file(trial)
    return None
