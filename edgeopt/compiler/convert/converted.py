"""What a conversion gives: files of another runtime's form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Contents by file name; the first is the one that its runtime opens. Names are plain, with no folder."""

    files: dict[str, bytes]
