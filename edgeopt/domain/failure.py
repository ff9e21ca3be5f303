"""Why something that ran on a device has no result."""

from __future__ import annotations

from typing import Literal

import msgspec


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a block has no result. `phase` is where it was: import, load, first, warmup, timed, outputs."""

    kind: Literal["signal", "timeout", "memory", "error", "bad-output", "runtime-missing", "lost"]
    phase: str | None
    detail: str
