"""Any other chip of the kernel's hwmon that knows power or energy: INA219, INA226 and their kin, ACPI meters, amd_energy, graphics cards.

Units by Documentation/hwmon/sysfs-interface.rst: power in microwatts, energy in microjoules (it accumulates), current in mA, voltage in mV.
"""

from __future__ import annotations

import re

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, read, read_number
from edgeopt_agent.probes.power import Sensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeopt_agent.probes.power import Found

_OTHERS = ("ina3221",)
"""Have a probe of their own; so have batteries, which the kernel shows here once more."""
_SHUNTS = re.compile(r"ina(2\d\d|4\d\d|7\d\d)")
_WHOLE = ("power_meter",)
"""ACPI's meter is of the whole machine (Documentation/hwmon/acpi_power_meter.rst)."""
_SUMS = ("total", "system", "socket")
"""A rail of such a name contains the others."""
_SOURCE = "Linux Documentation/hwmon/sysfs-interface.rst"


def find(root: str = "/") -> Found:
    """Return a sensor for each chip that answers."""
    sensors: list[Sensor] = []
    reasons: list[str] = []
    names: dict[str, int] = {}
    batteries = {path.rsplit("/", 1)[-1].replace("-", "_") for path in listing(root, "/sys/class/power_supply")}
    for chip in listing(root, "/sys/class/hwmon", "hwmon"):
        name = printable(read(root, f"{chip}/name")[0] or "", limit=40)
        if not name or name in _OTHERS or name in batteries:
            continue
        kind, rails = _rails(root, chip, name)
        if not rails:
            continue
        names[name] = names.get(name, 0) + 1
        sensor = _sensor(root, name if names[name] == 1 else f"{name} {names[name]}", kind, rails)
        if sensor.is_whole():
            sensors.append(sensor)
        else:
            first = rails[sensor.facts["total"][0]]
            why = next((reason for path in first for reason in [read(root, path)[1]] if reason), "holds no number")
            reasons.append(f"{name}: {why}")
    return sensors, reasons


def _rails(root: str, chip: str, name: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return the kind of what a chip tells, and the files of each rail: one of power or energy, or voltage and current."""
    if _SHUNTS.fullmatch(name):
        # Volts and amperes are finer than the power register, whose step is 20 to 32 times that of the current (data sheets of INA219 and INA226).
        volts, amperes = f"{chip}/in1_input", f"{chip}/curr1_input"
        if read_number(root, volts) is not None and read_number(root, amperes) is not None:
            return "sample", {_label(root, f"{chip}/curr1_label", "power1"): (volts, amperes)}
    energies = [path for path in listing(root, chip, "energy") if path.endswith("_input")]
    if energies:
        return "counter", _named(root, energies)
    powers = [path for path in listing(root, chip, "power") if path.endswith("_input")]
    averages = [path for path in listing(root, chip, "power") if path.endswith("_average")]
    return "sample", _named(root, powers or averages)


def _named(root: str, paths: list[str]) -> dict[str, tuple[str, ...]]:
    named: dict[str, tuple[str, ...]] = {}
    for path in paths[:32]:
        stem = path.rsplit("_", 1)[0]
        name = _label(root, f"{stem}_label", stem.rsplit("/", 1)[-1])
        named[name if name not in named else f"{name} ({stem.rsplit('/', 1)[-1]})"] = (path,)
    return named


def _label(root: str, path: str, default: str) -> str:
    return printable(read(root, path)[0] or "", limit=60) or default


def _sensor(root: str, name: str, kind: str, rails: dict[str, tuple[str, ...]]) -> Sensor:
    total = [rail for rail in rails if any(word in rail.lower() for word in _SUMS)] or list(rails)
    whole = name.split(" ", 1)[0] in _WHOLE
    covers = "the whole machine" if whole else "what is wired to it, which the kernel does not know"
    return Sensor(
        lambda: _read(root, rails),
        {
            "name": name,
            "class": "B" if whole else "C",
            "kind": kind,
            "rails": list(rails),
            "total": total,
            "total_rule": f"{' + '.join(total)} of {name}: {covers}",
            "period_s": 0.1,
            "gain": 0.02,
            "offset_w": 0.05,
            "source": _SOURCE,
        },
    )


def _read(root: str, rails: dict[str, tuple[str, ...]]) -> dict[str, float]:
    found = {}
    for rail, paths in rails.items():
        values = [read_number(root, path) for path in paths]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found[rail] = known[0] / 1e6 if len(known) == 1 else known[0] * known[1] / 1e6
    return found
