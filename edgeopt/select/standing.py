"""How a race stands, in one line for people who wait: what is tried, how warm the board is, who leads by how much. Nothing is decided by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeopt.domain.run import Block, Candidate
from edgeopt.select.blocks import ORIGINAL, block_ms, is_timed
from edgeopt.select.statistics import median
from edgeopt.select.wording import number


class Standing:
    """Follows the blocks of a run. Each block is looked at once, so a line costs little however long the race is."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Begin with nobody measured.

        Args:
            candidates: of the race.
        """
        self._originals = {candidate.id for candidate in candidates if candidate.variant == ORIGINAL}
        self._levels: dict[str, list[float]] = {}
        self._seen = 0

    def line(self, blocks: Sequence[Block], round_: str, name: str) -> str:
        """Return the line.

        Args:
            blocks: so far; the same sequence as at the last call, or longer.
            round_: which round it is, in words.
            name: the candidate that is measured now.
        """
        for block in blocks[self._seen :]:
            if block.failure is None and is_timed(block):
                self._levels.setdefault(block.candidate, []).append(block_ms(block))
        self._seen = len(blocks)
        warmth = degrees(blocks[-1].conditions_after) if blocks else None
        parts = (f"{round_}: {name}", None if warmth is None else f"{warmth:.0f} degrees", self._leader())
        return ", ".join(part for part in parts if part)

    def _leader(self) -> str | None:
        levels = {name: median(found) for name, found in self._levels.items()}
        if len(levels) < 2:
            return None
        first = min(levels, key=lambda name: (levels[name], name))
        original = min((levels[name] for name in self._originals & levels.keys()), default=None)
        if original is None or first in self._originals:
            return f"{first} leads"
        return f"{first} leads at {number(levels[first] / original)} times the original"


def degrees(conditions: Mapping[str, Any]) -> float | None:
    """Return the warmest temperature of what a device says of itself, in degrees Celsius; None when it tells none."""
    found = conditions.get("temperature_c")
    values = found.values() if isinstance(found, dict) else ()
    return max((value for value in values if isinstance(value, int | float)), default=None)
