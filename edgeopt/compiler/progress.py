"""What a child is doing, in one line of a small file that whoever waits for it looks at now and then.

The child writes the file anew each time, so it never grows, and it may lie in a folder that several computers share. What is read from it is bounded and harmless: the child
works on models that nothing is known of.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

MAX_BYTES = 256
MAX_WORDS = 80
"""Characters of the line that people see."""

LEAST_S = 0.2
"""Between two lines of a child, except for the first of a new activity."""


class _Teller:
    """The child's end. `about` stands before what is told, until it is told otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about = ""
        self.activity = ""
        self.told = 0.0

    def tell(self, text: str, done: int, total: int) -> None:
        now, activity = time.monotonic(), f"{self.about}{text}"
        if activity == self.activity and now - self.told < LEAST_S:
            return
        self.activity, self.told = activity, now
        fresh = self.path.with_suffix(".new")
        try:
            fresh.write_text(f"{activity} {done}/{total}" if total else activity)
            fresh.replace(self.path)
        except OSError:
            # Nobody may be looking any more; work does not depend on it.
            return


_teller: _Teller | None = None


def begin(path: str | None) -> None:
    """Tell from now on; None is for nobody."""
    global _teller  # noqa: PLW0603 - one child does one task, and what it calls is many levels down
    _teller = None if path is None else _Teller(Path(path))


def tell(text: str, done: int = 0, total: int = 0) -> None:
    """Say what is being done, and how much of it (0 of 0: not known). Cheap, and nothing where nobody listens."""
    if _teller is not None:
        _teller.tell(text, done, total)


def about(text: str) -> None:
    """Put a heading before all that is told from now on; empty ends it."""
    if _teller is not None:
        _teller.about = f"{text}: " if text else ""


def read_progress(path: Path) -> str:
    """The line as people may see it: printable characters only, not long. Empty when there is none, or it is no plain file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        data = os.read(handle, MAX_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except OSError:
        return ""
    finally:
        os.close(handle)
    line = data.decode(errors="ignore").partition("\n")[0]
    return "".join(letter for letter in line if letter.isprintable())[:MAX_WORDS]
