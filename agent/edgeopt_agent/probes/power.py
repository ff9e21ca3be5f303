"""Sensors of power and energy: what each of them says of itself, and which ones this device has.

A probe is a module `power_<kind>` with `find(root)`: the sensors that answered once, and for what is there but does not answer, the reason. A sensor's `read` returns
{rail: value}; a rail that cannot be read now is absent, which is a gap and never 0.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Found = tuple[list["Sensor"], list[str]]

BEST_FIRST = "ABCD"
"""Classes of measured sensors, the one that covers most and is known best first; E is a meter in the mains, read by the host. M (a model) never ranks, so none is looked for."""
ATTACH = (
    "the kernel shows no power sensor; attach one: an INA226 or INA219 board in the supply line (its driver shows it under /sys/class/hwmon), "
    "or a Shelly or Tasmota plug in the mains, named as the device's meter on the host"
)


class Sensor:
    """One way to read power or energy.

    Args:
        read: returns {rail: watts, or joules so far}.
        facts: what goes over the wire: `name`, `class` (A to D), `kind` (`sample`: watts; `counter`: joules that accumulate), `rails`, `total` (the rails whose sum
            is the total), `total_rule` (what that total is), `period_s` (no use in reading more often), `gain` and `offset_w` (standard uncertainties of the total,
            relative and in watts), `source` (where the definition comes from), `wrap_j` ({rail: joules at which a counter begins again}, when it does), and
            `estimate` ({scale, offset_w, gain, source}: from the total to the whole board, by somebody's regression), when there is one.
    """

    def __init__(self, read: Callable[[], dict[str, float]], facts: dict[str, Any]) -> None:
        self.read = read
        self.facts = facts

    @property
    def name(self) -> str:
        """Its name, by which the host asks for it."""
        return str(self.facts["name"])

    def is_whole(self) -> bool:
        """Say whether all rails of the total can be read now."""
        values = self.read()
        return all(rail in values for rail in self.facts["total"])


def find_all(root: str = "/") -> tuple[list[Sensor], str | None]:
    """Return every sensor that answers, the best first, and a sentence when there is none.

    Args:
        root: where /proc, /sys and /dev are.
    """
    from edgeopt_agent.probes import power_battery, power_hwmon, power_ina3221, power_odpm, power_pi5, power_rapl

    found: list[Sensor] = []
    reasons: list[str] = []
    for probe in (power_ina3221, power_odpm, power_pi5, power_rapl, power_hwmon, power_battery):
        sensors, why = probe.find(root)
        found += sensors
        reasons += why
    found.sort(key=lambda sensor: BEST_FIRST.index(sensor.facts["class"]))
    return found, None if found else "; ".join(reasons) or ATTACH


def facts(root: str = "/") -> tuple[list[dict[str, Any]] | None, str | None]:
    """Return the `power` fact of the wire and, when it is None, why."""
    found, reason = find_all(root)
    return [sensor.facts for sensor in found] or None, reason


def choose(name: str, root: str = "/") -> Sensor | None:
    """Return the sensor of this name; None when it is not there (any more)."""
    return next((sensor for sensor in find_all(root)[0] if sensor.name == name), None)
