"""What links have in common that run commands in a shell on the other side: commands, conversations with them, and files through `cat`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from edgeopt.errors import LinkLost
from edgeopt.transport.cat import Draining, get_file, put_file
from edgeopt.transport.link import Completed, Progress
from edgeopt.transport.process import ProcessStream, complete


class ShellLink(ABC):
    """A `Link` by processes over there; how one is begun is the way's own.

    Args:
        name: how messages call the device.
        stall_timeout_s: a transfer in which nothing moves for so long is given up.
    """

    def __init__(self, name: str, stall_timeout_s: float) -> None:
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        self._streams: list[ProcessStream] = []
        self._closed = False

    @abstractmethod
    def _begin(self, argv: Sequence[str], name: str, timeout_s: float) -> Draining:
        """Begin a command; `timeout_s` for the other side to take it. Raises LinkError."""

    @abstractmethod
    def close(self) -> None:
        """End everything that was started, then the way."""

    def run(self, argv: Sequence[str], stdin: bytes = b"", deadline_s: float = 30.0) -> Completed:
        """Run a command to its end."""
        name = self._label(argv)
        process = self._spawn(argv, name, min(self._stall_timeout_s, deadline_s))
        return complete(process, stdin, deadline_s, name)

    def start(self, argv: Sequence[str]) -> ProcessStream:
        """Start a command and talk with it."""
        name = self._label(argv)
        stream = ProcessStream(self._spawn(argv, name, self._stall_timeout_s), name)
        self._streams.append(stream)
        return stream

    def put(self, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None) -> int:
        """Copy a file; see `Link`."""
        return put_file(self._spawn_tool, self._name, local, remote, offset=offset, progress=progress)

    def get(self, remote: str, local: Path, *, max_bytes: int, progress: Progress | None = None) -> int:
        """Copy a file, not more than `max_bytes`; see `Link`."""
        timeout_s = self._stall_timeout_s
        return get_file(
            self._spawn_tool, self._name, remote, local, max_bytes=max_bytes, timeout_s=timeout_s, progress=progress
        )

    def _label(self, argv: Sequence[str]) -> str:
        return f"{self._name}: {argv[0] if argv else 'a command'}"

    def _spawn_tool(self, argv: Sequence[str], what: str) -> Draining:
        return self._spawn(argv, f"{self._name}: {what}", self._stall_timeout_s)

    def _spawn(self, argv: Sequence[str], name: str, timeout_s: float) -> Draining:
        if self._closed:
            raise LinkLost(f"{self._name}: the link is closed")
        return self._begin(argv, name, timeout_s)
