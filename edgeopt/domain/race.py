"""What is decided between two rounds of a measurement."""

from __future__ import annotations

import msgspec


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Who goes on.

    `dropped`: candidates that cannot win, each with the sentence that says why; they are measured no more. `resting`: need no more rounds, as all that was asked
    of them is known; they may be called back. `stopped`: why no further round is worth its time, None while one is.
    """

    dropped: dict[str, str] = {}
    resting: tuple[str, ...] = ()
    stopped: str | None = None
