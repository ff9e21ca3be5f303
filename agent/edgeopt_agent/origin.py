"""Where this agent runs from: its zipapp, or, in development, the package's folder."""

from __future__ import annotations

import os

_ARCHIVE = getattr(getattr(__spec__, "loader", None), "archive", None)


def archive() -> str | None:
    """Return the zipapp; None when this runs from a folder."""
    return os.path.abspath(_ARCHIVE) if isinstance(_ARCHIVE, str) else None


def runnable() -> str:
    """Return what to give to an interpreter to run this agent."""
    return archive() or os.path.dirname(os.path.abspath(__file__))
