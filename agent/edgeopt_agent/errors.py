"""What the agent can say went wrong, and how an operating system's error becomes one of those.

Every code is a word of docs/wire-protocol.md; the host maps it to a sentence and an exit code.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class AgentError(Exception):
    """An error that travels to the host.

    Args:
        code: one of the codes of the wire.
        message: one sentence for people, printable.
        detail: facts for the host.
    """

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = printable(message, limit=1000)
        self.detail = detail


class BlockFailed(Exception):
    """The block has no result, for a reason that is known."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Cancelled(Exception):
    """The host is gone: leave what you are doing and clean up."""


def printable(text: str, *, limit: int = 400) -> str:
    """Make text from the device safe for a terminal and for JSON: no control characters, no escapes, bounded."""
    return "".join(c if c.isprintable() else " " for c in text[: 4 * limit]).strip()[:limit]


def free_bytes(path: str) -> int | None:
    """Return the bytes that this user may still write where `path` is, or where it would be."""
    while True:
        try:
            room = os.statvfs(path)
        except OSError:
            parent = os.path.dirname(path)
            if parent == path:
                return None
            path = parent
        else:
            return room.f_bavail * room.f_frsize


def translate(error: OSError, fallback_path: str) -> AgentError:
    """Turn an error of the operating system into one of the wire: disk-full, read-only or io-error, with path and free bytes."""
    path = error.filename if isinstance(error.filename, str) else fallback_path
    reason = error.strerror or type(error).__name__
    detail = {"path": printable(path), "free_bytes": free_bytes(path), "errno": errno.errorcode.get(error.errno or 0)}
    if error.errno in _FULL:
        inodes = _free_inodes(path)
        if inodes == 0:
            return AgentError("disk-full", f"no inodes are left for {path}", **detail, free_inodes=0)
        return AgentError("disk-full", f"no room for {path}: {reason}", **detail)
    if error.errno in _READ_ONLY:
        return AgentError("read-only", f"{path} cannot be written: {reason}", **detail)
    return AgentError("io-error", f"{path}: {reason}", **detail)


def _free_inodes(path: str) -> int | None:
    while path:
        try:
            room = os.statvfs(path)
        except OSError:
            if os.path.dirname(path) == path:
                break
            path = os.path.dirname(path)
        else:
            # File systems without a fixed number of inodes (btrfs) say 0 of 0.
            return room.f_favail if room.f_files else None
    return None
