"""Which board this is, by its device tree."""

from __future__ import annotations

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import put, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_strings(text: str) -> list[str]:
    """Read the strings of a device-tree property, each ended by a NUL."""
    return [printable(part, limit=120) for part in text.split("\0") if part.strip()][:32]


def facts(root: str = "/") -> dict[str, Any]:
    """Return the `board` fact."""
    text, reason = read(root, "/proc/device-tree/model")
    model = parse_strings(text or "")
    record: dict[str, Any] = {}
    put(record, "dt_model", model[0] if model else None, reason or "the device tree names no model")
    record["dt_compatible"] = parse_strings(read(root, "/proc/device-tree/compatible")[0] or "")
    return record
