"""Runs the fixed scripts on a phone, and reads answers that come in parts."""

from __future__ import annotations

import errno
import re
import secrets
from collections.abc import Callable, Sequence

import msgspec

from edgeopt.errors import LinkError
from edgeopt.transport.file_errors import find_errno
from edgeopt.transport.link import Completed, Link
from edgeopt_agent.errors import AgentError, printable

_COUNT = re.compile(r"[0-9]{1,15}")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SEALED = (errno.EROFS, errno.EACCES, errno.EPERM)


class Part(msgspec.Struct, frozen=True):
    """Words of a line with the mark, and what came below it up to the next one."""

    words: tuple[str, ...]
    text: str


class Shell:
    """One phone's shell.

    Args:
        link: asked for before each script, so that a link that was opened again is used.
        name: how messages call the phone.
    """

    def __init__(self, link: Callable[[], Link], name: str) -> None:
        self._link = link
        self._name = name

    def run(self, script: str, *words: str, stdin: bytes = b"", deadline_s: float = 60.0) -> Completed:
        """Run a script to its end, however it ends. Raises LinkError."""
        return self._link().run(["sh", "-c", script, "edgeopt", *words], stdin, deadline_s)

    def ask(self, script: str, *words: str, stdin: bytes = b"", deadline_s: float = 60.0) -> str:
        """Run a script that must succeed; return what it said.

        Raises:
            AgentError: disk-full, read-only or io-error.
            LinkError: the way broke, or more was said than is taken.
        """
        done = self.run(script, *words, stdin=stdin, deadline_s=deadline_s)
        if done.truncated:
            raise LinkError(f"{self._name}: the phone says more than is taken from it")
        if done.exit_code != 0:
            raise why_failed(done)
        return done.stdout.decode("utf-8", "replace")

    def parts(self, script: str, *words: str, deadline_s: float = 60.0, at: int = 0) -> list[Part]:
        """Run a script that answers in parts; the mark is its parameter number `at`.

        Raises:
            LinkError: the answer was cut short, or the way broke.
        """
        mark = secrets.token_hex(16)
        done = self.run(script, *words[:at], mark, *words[at:], deadline_s=deadline_s)
        found = split(done.stdout.decode("utf-8", "replace"), mark)
        if not found or found[-1].words[0].lstrip("=") != "end":
            raise LinkError(f"{self._name}: what the phone answered was cut short", hint="Try again.")
        return found[:-1]


def split(text: str, mark: str) -> list[Part]:
    """Split an answer at the lines `<mark> words`. What comes before the first one is dropped."""
    pieces = re.split(rf"^{re.escape(mark)} ([^\n]+)\n", text, flags=re.MULTILINE)
    heads, bodies = pieces[1::2], pieces[2::2]
    return [
        Part(tuple(head.split()), body.removesuffix("\n"))
        for head, body in zip(heads, bodies, strict=True)
        if head.split()
    ]


def count(text: str | None) -> int | None:
    """Read a number of at most 15 digits, of ASCII alone; None for anything else."""
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Write rows of plain words as a script reads them."""
    return "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()


def why_failed(done: Completed) -> AgentError:
    """Return what a script's exit code and complaint mean, in the agent's words."""
    said = printable(done.stderr.decode("utf-8", "replace").replace("\n", "; ")) or "it does not say why"
    number = find_errno(said)
    if number in _FULL:
        return AgentError("disk-full", f"no room: {said}")
    if number in _SEALED:
        return AgentError("read-only", f"it cannot be written: {said}")
    return AgentError("io-error", f"its shell failed ({done.exit_code}): {said}")
