"""RAPL, the energy counters of x86 processors, by the kernel's powercap: microjoules that wrap around at `max_energy_range_uj`."""

from __future__ import annotations

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, read, read_number
from edgeopt_agent.probes.power import Sensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeopt_agent.probes.power import Found

_REMEDY = "allow it until the next boot: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


def find(root: str = "/") -> Found:
    """Return the sensor over all packages (and their memory, where it is counted).

    `core` and `uncore` are parts of a package and `psys` contains it, so they are not added. `intel-rapl-mmio` counts the same package again.
    """
    zones = listing(root, "/sys/class/powercap", "intel-rapl:")
    named = {zone: (read(root, f"{zone}/name")[0] or "").strip() for zone in zones}
    counted: dict[str, str] = {}
    for zone, name in named.items():
        socket = zone.rsplit("/", 1)[-1].split(":")[1]
        if name.startswith("package"):
            counted[printable(name, limit=40)] = zone
        elif name == "dram":
            counted[f"dram-{socket}"] = zone
    if not any(name.startswith("package") for name in counted):
        return [], []
    for zone in counted.values():
        reason = read(root, f"{zone}/energy_uj")[1]
        if reason is not None:
            return [], [f"RAPL: {reason}; {_REMEDY}"]
    rails = sorted(counted)
    wraps = {rail: read_number(root, f"{counted[rail]}/max_energy_range_uj") for rail in rails}
    sensor = Sensor(
        lambda: _read(root, counted),
        {
            "name": "rapl",
            "class": "C",
            "kind": "counter",
            "rails": rails,
            "total": rails,
            "total_rule": f"the sum of {' + '.join(rails)}: the processor, without board, disks and power supply",
            "period_s": 0.1,
            "gain": 0.05,
            "offset_w": 0.1,
            "source": "Linux Documentation/power/powercap/powercap.rst; Intel SDM volume 3, section 15.10 (the counter is renewed every millisecond)",
            # The counter begins again after its largest value, so one tick lies between the two.
            "wrap_j": {rail: (wrap + 1) / 1e6 for rail, wrap in wraps.items() if wrap},
        },
    )
    return ([sensor], []) if sensor.is_whole() else ([], ["RAPL: its counters hold no numbers"])


def _read(root: str, zones: dict[str, str]) -> dict[str, float]:
    found = {rail: read_number(root, f"{zone}/energy_uj") for rail, zone in zones.items()}
    return {rail: value / 1e6 for rail, value in found.items() if value is not None}
