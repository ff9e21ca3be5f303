"""Battery gauges by the kernel's power_supply: class D, and only while the battery alone feeds the board.

The kernel's units are microwatts, microamperes and microvolts (Documentation/ABI/testing/sysfs-class-power). Some vendors give mA or mV, and either sign for
discharging, so units are told by what is plausible for a board, and the sign is dropped.
"""

from __future__ import annotations

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, read, read_number
from edgeopt_agent.probes.power import Sensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeopt_agent.probes.power import Found

_PLAUSIBLE_W = (0.02, 100.0)
_PHONE_W = 20.0
"""No phone draws more; a laptop may, but laptops follow the kernel's units."""
_MICRO_VOLTS_FROM = 100_000
_UNPLUG = "unplug the cable (over Wi-Fi the link survives that) and measure again"


def find(root: str = "/") -> Found:
    """Return a sensor for each battery that discharges and tells how fast."""
    supplies = listing(root, "/sys/class/power_supply")
    types = {supply: (read(root, f"{supply}/type")[0] or "").strip() for supply in supplies}
    sensors, reasons = [], []
    for supply in (supply for supply, kind in types.items() if kind == "Battery"):
        name = printable(supply.rsplit("/", 1)[-1], limit=40)
        if (read(root, f"{supply}/scope")[0] or "").strip() == "Device":
            continue  # of a mouse or a keyboard
        if not _feeds(root, supply):
            status = printable(read(root, f"{supply}/status")[0] or "unknown", limit=40)
            reasons.append(f"the battery {name} does not feed the board alone (its status is {status}): {_UNPLUG}")
            continue
        scale = _scale(root, supply)
        if scale is None:
            denied = read(root, f"{supply}/current_now")[1] or "it holds no plausible current"
            reasons.append(f"the battery {name} does not tell what is drawn: {denied}")
            continue
        sensors.append(_sensor(root, supply, name, scale))
    return sensors, reasons


def _feeds(root: str, supply: str) -> bool:
    """Say whether the battery is discharging. Its own word counts: `online` of a charger may stay set on a dead port."""
    return (read(root, f"{supply}/status")[0] or "").strip() == "Discharging"


def _scale(root: str, supply: str) -> float | None:
    """Return the factor that makes watts of what `_raw` returns; None when there is nothing plausible."""
    if read_number(root, f"{supply}/power_now") is not None:
        return 1e-6
    raw, volts = _raw(root, supply), read_number(root, f"{supply}/voltage_now")
    if raw is None or volts is None:
        return None
    return current_scale(raw, volts)


def current_scale(raw: float, volts: int) -> float | None:
    """Return the factor from |current| times voltage, both as the driver gives them, to watts.

    Args:
        raw: |current_now| * voltage_now.
        volts: voltage_now; microvolts when it is large, else millivolts.
    """
    by_volts = 1e-6 if volts >= _MICRO_VOLTS_FROM else 1e-3
    low, high = _PLAUSIBLE_W
    if low <= raw * by_volts * 1e-6 <= high:
        return by_volts * 1e-6
    return by_volts * 1e-3 if low <= raw * by_volts * 1e-3 <= _PHONE_W else None


def _raw(root: str, supply: str) -> float | None:
    power = read_number(root, f"{supply}/power_now")
    if power is not None:
        return float(abs(power))
    current, volts = read_number(root, f"{supply}/current_now"), read_number(root, f"{supply}/voltage_now")
    return None if current is None or volts is None else float(abs(current) * volts)


def _sensor(root: str, supply: str, name: str, scale: float) -> Sensor:
    def read_now() -> dict[str, float]:
        raw = _raw(root, supply) if _feeds(root, supply) else None
        return {} if raw is None else {name: raw * scale}

    return Sensor(
        read_now,
        {
            "name": name,
            "class": "D",
            "kind": "sample",
            "rails": [name],
            "total": [name],
            "total_rule": "what leaves the battery: the whole device with its screen and radios",
            "period_s": 1.0,  # gauges renew their value every 0.1 to 10 s
            "gain": 0.05,
            "offset_w": 0.05,
            "source": "Linux Documentation/ABI/testing/sysfs-class-power",
        },
    )
