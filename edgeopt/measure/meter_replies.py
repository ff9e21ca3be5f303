"""What plugs with a power meter answer over HTTP: pure parsers, one for each dialect. A value that is not there or not valid is None, never 0."""

from __future__ import annotations

import math
from typing import Any


def shelly_generation(info: dict[str, Any]) -> int | None:
    """Return the generation by the answer to `/shelly`: 1, 2 or later; None when this is no Shelly (shelly-api-docs.shelly.cloud)."""
    generation = info.get("gen")
    if isinstance(generation, int) and not isinstance(generation, bool):
        return generation
    return 1 if isinstance(info.get("type"), str) and "mac" in info else None


def shelly_gen1_watts(reply: dict[str, Any]) -> float | None:
    """Return the power of `/meter/<n>`. While the meter starts it says itself that its value is not valid."""
    return None if reply.get("is_valid") is False else _watts(reply.get("power"))


def shelly_gen2_watts(reply: dict[str, Any]) -> float | None:
    """Return the power of `/rpc/Switch.GetStatus?id=<n>`."""
    return None if reply.get("errors") else _watts(reply.get("apower"))


def tasmota_watts(reply: dict[str, Any], channel: int) -> float | None:
    """Return the power of `/cm?cmnd=Status%208`; meters of several channels give a list."""
    energy = _mapping(_mapping(reply.get("StatusSNS")).get("ENERGY"))
    power = energy.get("Power")
    if isinstance(power, list):
        return _watts(power[channel]) if channel < len(power) else None
    return _watts(power) if channel == 0 else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _watts(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
