"""One command line for a login shell, from words. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from edgeopt.errors import LinkError

MAX_BYTES = 120_000
"""Linux takes 131,072 bytes for one word, and the whole line is one word of `sh -c`."""


_WRAPPER = 'echo "$1 $$" >&2; shift; "$@"; exit $?'
_TRACKED = 'echo "$1 $$" >&2; m=$1; shift; "$@"; c=$?; echo "$m = $c" >&2; exit $c'


def command_line(
    argv: Sequence[str], name: str, mark: str, *, is_end_told: bool = False, max_bytes: int = MAX_BYTES
) -> bytes:
    """Quote words so that a POSIX shell gives them to the command unchanged.

    `sh` takes the login shell's place. It tells its process id on stderr, after `mark`: it leads the process group, so that is what is needed to kill the command where
    the server does not do it. It stays until the command ends, so that one that dies of a signal is told as 128 + its number; paramiko drops the message in which
    a server tells the signal.

    Args:
        argv: the words.
        name: device and command, for messages.
        mark: random, so that nothing else prints it.
        is_end_told: `sh` also tells the exit code on stderr, for a way whose client says 0 when the connection breaks (see `Tracker`).
        max_bytes: the most that the way takes.

    Raises:
        LinkError: no words, a NUL in one, or more than a shell takes.
    """
    if not argv or any("\0" in word for word in argv):
        raise LinkError(f"{name}: a command has at least one word, and no NUL in any")
    words = ["exec", "sh", "-c", _TRACKED if is_end_told else _WRAPPER, "sh", mark, *argv]
    line = shlex.join(words).encode("utf-8", "surrogateescape")
    if len(line) > max_bytes:
        raise LinkError(f"{name}: the command is {len(line)} bytes long; at most {max_bytes} can be sent")
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


class Tracker:
    """Takes the two lines of a command whose end is told out of its stderr.

    `group` is its process group once it has begun, `code` its exit code once it has ended. Without the second line nobody knows how it ended.
    """

    _LONGEST_LINE = 80

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._line = re.compile(re.escape(self._mark) + rb" (= )?(\d{1,10})\n")
        self._held = b""
        self.group: int | None = None
        self.code: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what of stderr can be passed on now; b"" as `data` means its end."""
        self._held += data
        passed = b""
        while (at := self._held.find(self._mark)) >= 0:
            passed, self._held = passed + self._held[:at], self._held[at:]
            if data and b"\n" not in self._held[: self._LONGEST_LINE] and len(self._held) < self._LONGEST_LINE:
                return passed
            found = self._line.match(self._held)
            if found is None:
                # Somebody prints the command line with our mark in it.
                passed, self._held = passed + self._mark, self._held[len(self._mark) :]
                continue
            self._held = self._held[found.end() :]
            if found[1] is None:
                self.group = int(found[2])
            else:
                self.code = int(found[2])
        keep = self._begun_mark() if data else 0
        cut = len(self._held) - keep
        passed, self._held = passed + self._held[:cut], self._held[cut:]
        return passed

    def _begun_mark(self) -> int:
        """How many bytes at the end of what is held may be the beginning of the mark."""
        longest = min(len(self._held), len(self._mark) - 1)
        return next((size for size in range(longest, 0, -1) if self._mark.startswith(self._held[-size:])), 0)
