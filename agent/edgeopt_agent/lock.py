"""One host at a time: an exclusive flock that the kernel frees when the process ends, however it ends. The file's text only says who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import time

from edgeopt_agent.clock import utc_now
from edgeopt_agent.errors import AgentError
from edgeopt_agent.tree import make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE_S = 0.5
"""A look at the lock (status, healing) holds it for a moment; that is not another host."""
_MAX_TEXT_BYTES = 4096


class DeviceLock:
    """The lock of this session.

    Args:
        path: `<root>/locks/device`.
        wider: a file or folder that exists and that sessions with another root lock too (an ephemeral root is not shared), or None.
    """

    def __init__(self, path: str, wider: str | None = None) -> None:
        self._path = path
        self._wider = wider
        self._held: list[int] = []
        self.holder: dict[str, Any] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this session may change the device."""
        return bool(self._held)

    def take(self, purpose: str, owner: dict[str, Any]) -> None:
        """Take the lock until the process ends; taking it again only changes the text.

        Raises:
            AgentError: `busy`, with the holder where its text can be read.
        """
        if not self._held:
            self._held = self._acquire()
        self.holder = {"owner": owner, "purpose": purpose, "since": utc_now()}
        text = json.dumps(self.holder).encode()[:_MAX_TEXT_BYTES]
        try:
            os.ftruncate(self._held[0], 0)
            os.pwrite(self._held[0], text, 0)
        except OSError:
            # A full disk: the lock holds without its text, and collect needs it to make room.
            return

    def try_briefly(self) -> list[int]:
        """Take the lock for work that needs no name (healing); empty when another session has it. Give the result to `release`."""
        if self._held:
            return []
        own = self._open()
        if _flock(own, 0):
            return [own]
        os.close(own)
        return []

    @staticmethod
    def release(descriptors: list[int]) -> None:
        """Free what `try_briefly` took."""
        for descriptor in descriptors:
            os.close(descriptor)

    def who(self) -> dict[str, Any] | None:
        """Return who holds the lock now, in this or in another session; None when it is free."""
        if self._held:
            return self.holder
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if _flock(descriptor, 0, fcntl.LOCK_SH):
                return None
        finally:
            os.close(descriptor)
        return self._read_text() or {"owner": None, "purpose": None, "since": None}

    def _open(self) -> int:
        make_folder(os.path.dirname(self._path))
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _acquire(self) -> list[int]:
        taken: list[int] = []
        for descriptor in [self._open(), *self._open_wider()]:
            if not _flock(descriptor, _PATIENCE_S):
                for other in [*taken, descriptor]:
                    os.close(other)
                raise AgentError("busy", "another session is using this device", holder=self._read_text())
            taken.append(descriptor)
        return taken

    def _open_wider(self) -> list[int]:
        if self._wider is None:
            return []
        try:
            return [os.open(self._wider, os.O_RDONLY | os.O_CLOEXEC)]
        except OSError:
            return []

    def _read_text(self) -> dict[str, Any] | None:
        for path in (self._path, self._wider):
            try:
                with open(path or "", "rb") as stream:
                    text = json.loads(stream.read(_MAX_TEXT_BYTES))
            except (OSError, ValueError):
                continue
            if isinstance(text, dict):
                return {key: text.get(key) for key in ("owner", "purpose", "since")}
        return None


def _flock(descriptor: int, patience_s: float, kind: int = fcntl.LOCK_EX) -> bool:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        else:
            return True
