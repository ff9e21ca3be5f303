"""What a phone says of itself, and under which conditions it works: its files go into a folder here, where the agent's own parsers read them. The rest is text and pure rules."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgeopt.measure.phone.shell import Part
from edgeopt_agent import conditions
from edgeopt_agent.clock import is_plausible, utc_text
from edgeopt_agent.errors import printable
from edgeopt_agent.probes import board, cpu, memory, put, read, thermal

KEPT = (
    *(
        "ro.product.model",
        "ro.product.manufacturer",
        "ro.product.brand",
        "ro.product.device",
        "ro.product.name",
        "ro.product.cpu.abi",
    ),
    *(
        "ro.soc.model",
        "ro.soc.manufacturer",
        "ro.board.platform",
        "ro.hardware",
        "ro.hardware.chipname",
        "ro.chipname",
        "ro.build.version.release",
        "ro.build.version.sdk",
    ),
)
"""Properties that tell what a phone is. Nothing that tells whose: no serial number, no operator."""
NO_POWER = "a phone's battery gauge is not read yet: what it shows is of the whole phone, and while it is charged it says nothing of the load"
_PROPERTY = re.compile(r"^\[([^\]\n]+)\]: \[([^\n]*)\]$", re.MULTILINE)
_TEMPERATURE = re.compile(
    r"Temperature\{mValue=(-?[0-9.]+(?:E-?[0-9]+)?), mType=(-?[0-9]+), mName=([^,}\n]+), mStatus=([0-9]+)\}"
)
_STATUS = re.compile(r"^\s*Thermal Status: (\d)\s*$", re.MULTILINE)
_HEAT = range(6)
"""Types that are temperatures: CPU, GPU, battery, skin, USB port, power amplifier. 6 to 8 are voltage, current and charge of the battery's limiter."""
_MOST_SENSORS = 64
_SAFE = re.compile(r"/(?:proc|sys)(?:/[A-Za-z0-9_.:@,-]+)+")
_CHARGING = {2: "charging", 3: "discharging", 4: "not charging", 5: "full"}


def properties(text: str) -> dict[str, str]:
    """Read `[name]: [value]` lines of getprop."""
    return dict(_PROPERTY.findall(text)[:5000])


def android(found: dict[str, str]) -> dict[str, Any]:
    """Return what getprop says of the phone; None where it does not."""
    names = {
        "model": ("ro.product.model", "ro.product.system.model"),
        "manufacturer": ("ro.product.manufacturer",),
        "device": ("ro.product.device",),
        "soc": ("ro.soc.model",),
        "platform": ("ro.board.platform",),
        "release": ("ro.build.version.release",),
        "sdk": ("ro.build.version.sdk",),
        "abi": ("ro.product.cpu.abi",),
    }
    record: dict[str, Any] = {}
    for field, keys in names.items():
        value = next((found[key] for key in keys if found.get(key)), None)
        put(record, field, printable(value, limit=80) if value else None, f"getprop has no {keys[0]}")
    return record


def battery(text: str) -> dict[str, Any]:
    """Read `dumpsys battery`: level in per cent, temperature in degrees Celsius, whether it is charged. Some vendors append a log with the same words, so the first of each counts."""
    fields: dict[str, str] = {}
    for line in text.splitlines()[:200]:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    level, scale, tenths = (_whole(fields.get(name)) for name in ("level", "scale", "temperature"))
    record: dict[str, Any] = {}
    share = None if level is None or not scale else round(100 * level / scale)
    put(
        record,
        "level_percent",
        share if share is not None and 0 <= share <= 100 else None,
        "dumpsys battery has no level",
    )
    degrees = None if tenths is None else tenths / 10
    put(
        record,
        "temperature_c",
        degrees if degrees is not None and -50 <= degrees <= 150 else None,
        "dumpsys battery has no temperature",
    )
    put(record, "charging", _CHARGING.get(_whole(fields.get("status")) or 0), "dumpsys battery has no status")
    return record


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,15}", text) else None


def thermal_service(text: str) -> tuple[dict[str, float], int | None]:
    """Read `dumpsys thermalservice` (Android 10 and later): temperatures by name, what the hardware says now before what the service remembers; and the throttling status, 0 for none."""
    current = text.partition("Current temperatures from HAL:")[2].partition("Current cooling")[0]
    remembered = text.partition("Cached temperatures:")[2].partition("HAL Ready")[0]
    found: dict[str, float] = {}
    for value, kind, name, _ in _TEMPERATURE.findall(current) or _TEMPERATURE.findall(remembered):
        degrees = thermal.parse_temperature(value)
        # A sensor that is not fitted reads exactly 0.
        if int(kind[:6]) in _HEAT and degrees and len(found) < _MOST_SENSORS:
            found.setdefault(printable(name, limit=60), degrees)
    status = _STATUS.search(text)
    return found, int(status[1]) if status else None


@contextlib.contextmanager
def tree(parts: Sequence[Part]) -> Iterator[str]:
    """Put the files that came into a folder, under their own paths; nothing but plain paths below /proc and /sys."""
    with tempfile.TemporaryDirectory(prefix="edgeopt-phone-") as folder:
        for part in parts:
            path = part.words[0]
            if _SAFE.fullmatch(path) and ".." not in PurePosixPath(path).parts:
                place = Path(folder + path)
                with contextlib.suppress(OSError):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text(part.text, encoding="utf-8", errors="replace")
        yield folder


def observed(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the conditions of the wire, and `thermal_status`."""
    said = _said(parts)
    with tree(parts) as root:
        record = conditions.observe(root)
        uptime = _seconds((read(root, "/proc/uptime")[0] or "").split(" ")[0])
    if uptime is not None:
        record["monotonic_ns"] = round(uptime * 1e9)
    now = _seconds(said.get("date", ""))
    if now is not None:
        record["unix_s"], record["utc"] = now, utc_text(now)
    degrees, status = thermal_service(said.get("thermal", ""))
    if degrees:
        record["temperature_c"] = (record.get("temperature_c") or {}) | degrees
        record.pop("temperature_c_reason", None)
    put(record, "thermal_status", status, "the phone has no thermal service that tells (Android 10 has)")
    return record


def _seconds(text: str) -> float | None:
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if 0 <= value < 1e11 else None


def _said(parts: Sequence[Part]) -> dict[str, str]:
    return {part.words[0][1:]: part.text for part in parts if part.words[0].startswith("=")}


def facts(parts: Sequence[Part], root_there: str) -> dict[str, Any]:
    """Return the facts of the wire, without the runtimes. What a phone does not have is None with a reason."""
    said = _said(parts)
    found = properties(said.get("getprop", ""))
    uname = said.get("uname", "").split()
    now = observed(parts)
    record: dict[str, Any] = {
        "system": "Android",
        "kernel": printable(uname[1]) if len(uname) > 2 else "unknown",
        "machine": printable(uname[-1], limit=40) if uname else "unknown",
        "android": android(found),
        "battery": battery(said.get("battery", "")),
        "clock": {"utc": now["utc"], "unix_s": now["unix_s"], "plausible": is_plausible(now["unix_s"])},
        "hostname": printable(found.get("ro.product.device", "phone"), limit=80),
        "user": printable(said.get("user", "").strip(), limit=80),
        "edgeopt_root": root_there,
        "lacks": [part.text for part in parts if part.words[0] == "=lacks"],
        "libc": {"name": None, "name_reason": "Android's own (bionic)", "version": None},
        "python": {
            "version": "none",
            "implementation": "none",
            "executable": None,
            "bits": 64 if "64" in found.get("ro.product.cpu.abi", "64") else 32,
        },
    }
    with tree(parts) as root:
        record |= {
            "cpu": _cpu(root, said),
            "memory": _memory(root, said),
            "board": board.facts(root)
            | {"properties": {name: printable(found[name], limit=120) for name in KEPT if name in found}},
        }
        put(record, "governor", *cpu.governor(root))
        record["disk"] = _disk(said, read(root, "/proc/mounts")[0] or "")
    names = sorted(now.get("temperature_c") or {})
    record["sensors"] = {
        "temperature": [{"name": name, "path": "dumpsys thermalservice"} for name in names],
        "power": None,
        "power_reason": NO_POWER,
    }
    return record


def _cpu(root: str, said: dict[str, str]) -> dict[str, Any]:
    record = cpu.facts(root)
    every = frozenset(int(path.rsplit("cpu", 1)[1]) for path in cpu.cores(root))
    usable = _whole(said.get("nproc", "").strip())
    listed = cpu.parse_cpuinfo(read(root, "/proc/cpuinfo")[0] or "")["processors"]
    record["cores"] = len(every) or listed or usable or 1
    record["usable_cores"] = usable or record["cores"]
    record["clusters"] = cpu.clusters(root, every)
    return record


def _memory(root: str, said: dict[str, str]) -> dict[str, Any]:
    record = memory.facts(root)
    put(record, "page_bytes", _whole(said.get("page", "").strip()), "the phone has no getconf")
    return record


def _disk(said: dict[str, str], mounts: str) -> dict[str, Any]:
    """Of the folder, or the nearest one above it that is there."""
    path, _, state = said.get("folder", "").strip().rpartition(" ")
    numbers = [_whole(word) for line in said.get("df", "").splitlines()[-1:] for word in line.split()[1:4]]
    total, _, free = (*numbers, None, None, None)[:3]
    record: dict[str, Any] = {
        "path": printable(path),
        "writable": state == "writable",
        "noexec": _is_noexec(path, mounts),
    }
    put(record, "free_bytes", None if free is None else free * 1024, "df does not say")
    put(record, "total_bytes", None if total is None else total * 1024, "df does not say")
    return record


def _is_noexec(path: str, mounts: str) -> bool:
    best, options = "", ""
    for line in mounts.splitlines():
        words = line.split()
        if len(words) >= 4 and f"{path}/".startswith(f"{words[1].rstrip('/')}/") and len(words[1]) >= len(best):
            best, options = words[1], words[3]
    return "noexec" in options.split(",")
