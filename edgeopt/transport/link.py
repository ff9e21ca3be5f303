"""The seam between edgeopt and a device: five methods, whatever the way.

A link is opened by `edgeopt.transport.open.open_link`. Whatever goes wrong leaves as an `edgeopt.errors.LinkError` (or `DiskFull`, `ReadOnly`
from `put`); nothing of paramiko or the operating system passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all), at least once a second while something moves."""


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A finished command.

    Each stream is bounded to 1 MiB. A command that says more is killed there and then: `truncated` says so, and `exit_code` is -9.
    A command that does not exist is exit code 127, killed by signal N is -N or 128 + N.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False


class Stream(Protocol):
    """A running command with its standard streams. Closing it ends the command: stdin is closed, then what is left is killed."""

    def write(self, data: bytes) -> None:
        """Send all of `data` to stdin. Raises LinkLost or LinkTimeout."""

    def read(self, limit: int, timeout_s: float) -> bytes:
        """Return 1 to `limit` bytes of stdout, or b"" at its end. Raises LinkTimeout when nothing comes in `timeout_s`."""

    def stderr_tail(self) -> bytes:
        """Return the last 64 KiB of what the command wrote to stderr so far."""

    def exit_code(self, timeout_s: float) -> int | None:
        """Wait for the end; None when it has not ended in `timeout_s`, or nobody can say any more because the way broke. Killed by signal N is -N where the way tells, otherwise 128 + N."""

    def close(self) -> None:
        """End the command and free the channel. Never raises, may be called twice."""


class Link(Protocol):
    """A way to one device. argv lists only; the implementation quotes where a shell stands in between."""

    def run(self, argv: Sequence[str], stdin: bytes = b"", deadline_s: float = 30.0) -> Completed:
        """Run a command to its end. Raises LinkTimeout after `deadline_s`, LinkLost when the way breaks; the command is ended in both cases."""

    def start(self, argv: Sequence[str]) -> Stream:
        """Start a command and talk with it. What the login shell prints before the command comes first. Raises LinkLost, LinkTimeout."""

    def put(self, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None) -> int:
        """Copy a file to the absolute path `remote`, beginning at byte `offset` of both (what is there before it is kept).

        The folder exists. Returns the bytes sent. No progress for 20 s raises LinkTimeout. Raises DiskFull, ReadOnly, LinkLost.
        Nothing is verified here: the agent hashes what arrived.
        """

    def get(self, remote: str, local: Path, *, max_bytes: int, progress: Progress | None = None) -> int:
        """Copy a file from the device; refuses more than `max_bytes` with LinkError. Returns the bytes received."""

    def close(self) -> None:
        """Close the way and everything that was started on it. Never raises, may be called twice."""
