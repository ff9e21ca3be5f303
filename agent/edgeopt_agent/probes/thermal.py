"""Heat and what it does: temperatures, the throttle word of a Raspberry Pi's firmware, throttle counters of x86 and Jetson, cooling devices that slow cores down."""

from __future__ import annotations

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, read, read_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MILLI_FROM = 1000
"""The kernel's unit is 1/1000 degree; some vendors give degrees, and -256 for a sensor that is off. Between them lies less than one degree."""
_LOWEST_C, _HIGHEST_C = -50.0, 150.0
_SLOWING = ("cpufreq", "processor", "devfreq")


def parse_temperature(text: str) -> float | None:
    """Read a temperature in degrees Celsius; None for garbage and for sensors that are off (a Jetson says -256)."""
    try:
        value = float(text.strip())
    except ValueError:
        return None
    degrees = value / 1000 if abs(value) >= _MILLI_FROM else value
    return degrees if _LOWEST_C <= degrees <= _HIGHEST_C else None


def parse_throttled(text: str) -> int | None:
    """Read the firmware's word (`50005`, `0x50005`, `throttled=0x50005`), always hexadecimal. Bits 0 to 3 are now, 16 to 19 since boot."""
    word = text.strip().rpartition("=")[2]
    try:
        value = int(word, 16)
    except ValueError:
        return None
    return value if 0 <= value < 1 << 32 else None


def sensors(root: str = "/") -> list[dict[str, str]]:
    """Return name and path of every temperature that reads plausibly: thermal zones, or hwmon where there are none."""
    zones = [
        (f"{zone}/temp", (read(root, f"{zone}/type")[0] or "").strip())
        for zone in listing(root, "/sys/class/thermal", "thermal_zone")
    ]
    return _named(root, zones) or _named(root, _hwmon(root))


def _hwmon(root: str) -> Iterable[tuple[str, str]]:
    for chip in listing(root, "/sys/class/hwmon", "hwmon"):
        name = (read(root, f"{chip}/name")[0] or "hwmon").strip()
        for path in listing(root, chip, "temp"):
            if path.endswith("_input"):
                label = (read(root, path.replace("_input", "_label"))[0] or "").strip()
                yield path, f"{name} {label}".strip()


def _named(root: str, found: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    named: dict[str, str] = {}
    for path, raw in found:
        if parse_temperature(read(root, path)[0] or "") is None:
            continue
        name = printable(raw, limit=60) or path.rsplit("/", 2)[-2]
        base, number = name, 2
        while name in named:
            name, number = f"{base} {number}", number + 1
        named[name] = path
    return [{"name": name, "path": path} for name, path in named.items()][:64]


def temperatures_c(found: list[dict[str, str]], root: str = "/") -> dict[str, float] | None:
    """Read the sensors that `sensors` found; None when none answers."""
    values = {sensor["name"]: parse_temperature(read(root, sensor["path"])[0] or "") for sensor in found}
    return {name: value for name, value in values.items() if value is not None} or None


def throttled(root: str = "/") -> int | None:
    """Return the raw throttle word of a Raspberry Pi; None elsewhere."""
    for platform in listing(root, "/sys/devices/platform", "soc"):
        for path in [platform, *listing(root, platform, "soc"), *listing(root, platform, "firmware")]:
            text, _ = read(root, f"{path}/get_throttled")
            if text is not None:
                return parse_throttled(text)
    return None


def throttle_count(root: str = "/") -> int | None:
    """Return how often x86 cores were throttled, or a Jetson's over-current guard acted, since boot; None where nobody counts."""
    counts = [
        read_number(root, f"{core}/thermal_throttle/core_throttle_count")
        for core in listing(root, "/sys/devices/system/cpu", "cpu")
    ]
    for chip in listing(root, "/sys/class/hwmon", "hwmon"):
        if (read(root, f"{chip}/name")[0] or "").strip() == "soctherm_oc":
            counts += [read_number(root, path) for path in listing(root, chip, "oc") if path.endswith("_event_cnt")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def cooling_state(root: str = "/") -> int | None:
    """Return how strongly the kernel slows the cores down to cool them (0: not at all); None where it has no such device."""
    states = []
    for device in listing(root, "/sys/class/thermal", "cooling_device"):
        kind = (read(root, f"{device}/type")[0] or "").strip().lower()
        if any(word in kind for word in _SLOWING):
            states.append(read_number(root, f"{device}/cur_state"))
    known = [state for state in states if state is not None]
    return max(known) if known else None
