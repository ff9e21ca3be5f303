"""TI INA3221, the three-channel monitor on every Jetson: volts in mV, amperes in mA, power in mW, by the kernel's hwmon driver or by JetPack 4's driver for iio."""

from __future__ import annotations

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, read
from edgeopt_agent.probes.power import Sensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeopt_agent.probes.power import Found

    Rail = tuple[str, tuple[str, ...]]

_INPUTS = ("VDD_IN", "POM_5V_IN")
"""Rails that are the whole module's input: Xavier NX, Orin NX, Orin Nano, TX2; Nano."""
_CHANNELS = (1, 2, 3)
"""hwmon's in4 to in6 are shunt voltages and in7 their sum, curr4 a sum of currents: no rails (Documentation/hwmon/ina3221.rst)."""
_IIO_CHANNELS = (0, 1, 2)
_WHOLE = "the {} rail, the whole input of the module"
_SUM = "the sum of {}: the module's rails, without its carrier board"


def find(root: str = "/") -> Found:
    """Return one sensor over all chips, found by name and never by number, and why rails that are there cannot be read."""
    rails = _unique([*_hwmon(root), *_iio(root)])
    if not rails:
        return [], []
    reasons = [reason for _, paths in rails for path in paths for reason in [read(root, path)[1]] if reason]
    names = [name for name, _ in rails]
    total = [name for name in _INPUTS if name in names][:1] or names
    whole = total[0] in _INPUTS
    sensor = Sensor(
        lambda: _read(root, rails),
        {
            "name": "ina3221",
            "class": "B" if whole else "C",
            "kind": "sample",
            "rails": names,
            "total": total,
            "total_rule": _WHOLE.format(total[0]) if whole else _SUM.format(" + ".join(total)),
            "period_s": 0.1,
            # 40 uV typical offset over a 5 milliohm shunt at 5 V; 0.25 % of the chip and 1 % of usual shunts.
            "gain": 0.01,
            "offset_w": 0.04,
            "source": "INA3221 data sheet SBOS576; Linux Documentation/hwmon/ina3221.rst; NVIDIA Jetson Linux Developer Guide, power monitors",
        },
    )
    return ([sensor], []) if sensor.is_whole() else ([], [f"ina3221: {reason}" for reason in reasons[:1]])


def _unique(rails: list[Rail]) -> list[Rail]:
    seen: dict[str, tuple[str, ...]] = {}
    for label, paths in rails:
        name, number = label, 2
        while name in seen:
            name, number = f"{label} {number}", number + 1
        seen[name] = paths
    return list(seen.items())


def _hwmon(root: str) -> Iterator[Rail]:
    for chip in listing(root, "/sys/class/hwmon", "hwmon"):
        if (read(root, f"{chip}/name")[0] or "").strip() != "ina3221":
            continue
        for channel in _CHANNELS:
            label = _label(read(root, f"{chip}/in{channel}_label")[0])
            enabled = (read(root, f"{chip}/in{channel}_enable")[0] or "1").strip() != "0"
            if enabled and label is not None:
                yield label, (f"{chip}/in{channel}_input", f"{chip}/curr{channel}_input")


def _iio(root: str) -> Iterator[Rail]:
    for chip in listing(root, "/sys/bus/iio/devices", "iio:device"):
        if not (read(root, f"{chip}/name")[0] or "").strip().startswith("ina3221"):
            continue
        for channel in _IIO_CHANNELS:
            label = _label(read(root, f"{chip}/rail_name_{channel}")[0])
            if label is None:
                continue
            power = f"{chip}/in_power{channel}_input"
            parts = (f"{chip}/in_voltage{channel}_input", f"{chip}/in_current{channel}_input")
            yield label, (power,) if read(root, power)[0] is not None else parts


def _label(text: str | None) -> str | None:
    """Return a rail's name; None where nothing is connected or named."""
    label = printable(text or "", limit=60)
    return None if not label or label.upper() == "NC" or label.upper().startswith(("NC_", "NC ")) else label


def parse_watts(texts: list[str]) -> float | None:
    """Return watts of (mW,) or of (mV, mA); currents may be negative, the chip measures both ways. None for garbage."""
    try:
        values = [int(text.strip()) for text in texts]
    except ValueError:
        return None
    return values[0] / 1e3 if len(values) == 1 else values[0] * values[1] / 1e6


def _read(root: str, rails: list[Rail]) -> dict[str, float]:
    found = {name: parse_watts([read(root, path)[0] or "" for path in paths]) for name, paths in rails}
    return {name: watts for name, watts in found.items() if watts is not None}
