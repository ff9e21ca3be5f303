"""One command line for a login shell, from words. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from edgeopt.errors import LinkError

MAX_BYTES = 120_000
"""Linux takes 131,072 bytes for one word, and the whole line is one word of `sh -c`."""


_WRAPPER = 'echo "$1 $$" >&2; shift; "$@"; exit $?'


def command_line(argv: Sequence[str], name: str, mark: str) -> bytes:
    """Quote words so that a POSIX shell gives them to the command unchanged.

    `sh` takes the login shell's place. It tells its process id on stderr, after `mark`: it leads the process group, so that is what is needed to kill the command where
    the server does not do it. It stays until the command ends, so that one that dies of a signal is told as 128 + its number; paramiko drops the message in which
    a server tells the signal.

    Raises:
        LinkError: no words, a NUL in one, or more than a shell takes.
    """
    if not argv or any("\0" in word for word in argv):
        raise LinkError(f"{name}: a command has at least one word, and no NUL in any")
    words = ["exec", "sh", "-c", _WRAPPER, "sh", mark, *argv]
    line = shlex.join(words).encode("utf-8", "surrogateescape")
    if len(line) > MAX_BYTES:
        raise LinkError(f"{name}: the command is {len(line)} bytes long; at most {MAX_BYTES} can be sent")
    return line


class GroupFinder:
    """Takes the line with the process id out of a command's stderr.

    Login shells may print before it. `group` is the process group of the command once it is known.
    """

    LIMIT_BYTES = 64 << 10

    def __init__(self, mark: str) -> None:
        self._pattern = re.compile(re.escape(mark.encode()) + rb" (\d+)\n")
        self._held: bytearray | None = bytearray()
        self.group: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what of stderr can be passed on now; b"" as `data` means its end."""
        if self._held is None:
            return data
        self._held += data
        found = self._pattern.search(self._held)
        if found is None and data and len(self._held) < self.LIMIT_BYTES:
            return b""
        rest = bytes(self._held)
        if found is not None:
            self.group = int(found[1])
            rest = rest[: found.start()] + rest[found.end() :]
        self._held = None
        return rest
