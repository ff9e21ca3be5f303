"""What is expected of a candidate before it is measured, and how that turned out."""

from __future__ import annotations

import msgspec


class Prior(msgspec.Struct, frozen=True, kw_only=True):
    """What a roofline expects of a candidate: milliseconds of an inference, None with the reason. `times_original` is the same over the original's, in the same setting."""

    candidate: str
    ms: float | None
    times_original: float | None = None
    reason: str | None = None


class PriorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Expected and measured (p50) milliseconds of a candidate, and measured over expected. `sentence`: where that is outside 1/3 to 3, one of both is to be doubted."""

    candidate: str
    expected_ms: float | None
    measured_ms: float | None
    factor: float | None
    sentence: str | None = None
    reason: str | None = None
