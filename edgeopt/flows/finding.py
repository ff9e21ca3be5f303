"""One line of `doctor`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `doctor` looked at. `advice` says what to do about a lack."""

    subject: str
    state: Literal["ok", "warn", "fail", "unknown"]
    found: str
    advice: str | None = None
