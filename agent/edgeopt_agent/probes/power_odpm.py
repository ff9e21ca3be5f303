"""ODPM, the energy counters in the power chips of Pixel phones since the Pixel 6: microwatt-seconds by rail, two chips of eight channels each."""

from __future__ import annotations

import re

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, read
from edgeopt_agent.probes.power import Sensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeopt_agent.probes.power import Found

_LINE = re.compile(r"^CH\d+\(T=(\d+)\)\[([^\]]+)\],\s*(\d{1,20})\s*$", re.MULTILINE | re.ASCII)
_COUNTS = 20
"""The driver asks the chip again only after so many of its samples; before that it repeats itself (odpm.c)."""
_SLOWEST_HZ = 7.8125
_SHORTEST_S = 0.1


def find(root: str = "/") -> Found:
    """Return one sensor over all chips; reading them mostly needs root."""
    chips = [
        chip
        for chip in listing(root, "/sys/bus/iio/devices", "iio:device")
        if "odpm" in (read(root, f"{chip}/name")[0] or "")
    ]
    if not chips:
        return [], []
    for chip in chips:
        reason = read(root, f"{chip}/energy_value")[1]
        if reason is not None:
            return [], [f"ODPM: {reason}; on Pixel phones that needs root"]
    rails = sorted(_read(root, chips))
    if not rails:
        return [], ["ODPM: its file is not as expected"]
    facts = {
        "name": "odpm",
        "class": "B",
        "kind": "counter",
        "rails": rails,
        "total": rails,
        "total_rule": f"the sum of the {len(rails)} rails that the power chips count",
        "period_s": max(_period_s(read(root, f"{chip}/sampling_rate")[0] or "") for chip in chips),
        "gain": 0.02,
        "offset_w": 0.02,
        "source": "Android kernel, drivers/iio/power/odpm.c",
    }
    return [Sensor(lambda: _read(root, chips), facts)], []


def _period_s(sampling_rate: str) -> float:
    match = re.match(r"\s*(\d+(?:\.\d+)?)", sampling_rate, re.ASCII)
    rate_hz = float(match.group(1)) if match else 0.0
    return max(_COUNTS / (rate_hz or _SLOWEST_HZ), _SHORTEST_S)


def parse_joules(text: str) -> dict[str, float]:
    """Read `CH<n>(T=<ms>)[<rail>], <uWs>` lines; joules by rail."""
    return {printable(rail, limit=60): int(value) / 1e6 for _, rail, value in _LINE.findall(text)}


def _read(root: str, chips: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for chip in chips:
        found.update(parse_joules(read(root, f"{chip}/energy_value")[0] or ""))
    return found
