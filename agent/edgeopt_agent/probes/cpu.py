"""Cores: what they are, what all of them can do, how fast they may go, how busy they are."""

from __future__ import annotations

import os

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, put, read, read_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CPU = "/sys/devices/system/cpu"
_MODEL_FIELDS = ("model name", "cpu model", "uarch", "Processor", "cpu")
_BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)  # user nice system irq softirq steal; user already has guest in it
_ALL_COLUMNS = (0, 1, 2, 3, 4, 5, 6, 7)


def parse_cpuinfo(text: str) -> dict[str, Any]:
    """Read /proc/cpuinfo of x86, Arm (old and new) and RISC-V.

    Returns:
        model: the name, or None. parts: the distinct Arm part numbers. features: what all cores share (a Galaxy S9 says fp16 of its little cores only).
        processors: how many cores are listed.
    """
    blocks = [block for block in (_fields(part) for part in text.split("\n\n")) if block]
    features = [
        frozenset(value.split())
        for value in (b.get("Features") or b.get("flags") or b.get("isa") for b in blocks)
        if value
    ]
    shared = frozenset.intersection(*features) if features else frozenset()
    parts = {value.lower() for line in text.splitlines() for key, value in [_pair(line)] if key == "CPU part" and value}
    names = (block.get(field) for field in _MODEL_FIELDS for block in blocks)
    model = next((name for name in names if name and not name.isdigit()), None)
    return {
        "model": printable(model, limit=120) if model else None,
        "parts": sorted(printable(part, limit=20) for part in parts)[:16],
        "features": sorted(printable(feature, limit=40) for feature in shared)[:400],
        "processors": sum(
            1 for line in text.splitlines() for key, value in [_pair(line)] if key == "processor" and value.isdigit()
        ),
    }


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in block.splitlines():
        key, value = _pair(line)
        if value:
            fields.setdefault(key, value)
    return fields


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def parse_stat(text: str) -> dict[str, int | None]:
    """Read /proc/stat: busy and total ticks of all cores together, context switches since boot."""
    found: dict[str, int | None] = {"busy_ticks": None, "total_ticks": None, "context_switches": None}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["cpu"]:
            ticks = [int(word) if word.isdigit() else 0 for word in words[1:9]]
            ticks += [0] * (8 - len(ticks))
            found["busy_ticks"] = sum(ticks[n] for n in _BUSY_COLUMNS)
            found["total_ticks"] = sum(ticks[n] for n in _ALL_COLUMNS)
        elif words[:1] == ["ctxt"] and len(words) == 2 and words[1].isdigit():
            found["context_switches"] = int(words[1])
    return found


def parse_pressure(text: str) -> int | None:
    """Read from /proc/pressure/cpu for how many microseconds, since boot, something that could run had to wait. Many kernels of boards do not count it."""
    for line in text.splitlines():
        word = line.rpartition(" total=")[2]
        if line.startswith("some ") and word.isdigit():
            return int(word)
    return None


def parse_load(text: str) -> float | None:
    """Read the first number of /proc/loadavg."""
    try:
        value = float(text.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        return None
    return value if 0 <= value < 1e9 else None


def usable_cores() -> int:
    """Return how many cores this process may run on: the affinity, not the count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def facts(root: str = "/") -> dict[str, Any]:
    """Return the `cpu` fact."""
    text, reason = read(root, "/proc/cpuinfo")
    info = parse_cpuinfo(text or "")
    record: dict[str, Any] = {}
    put(record, "model", info["model"], reason or "/proc/cpuinfo names none")
    record["parts"] = info["parts"]
    record["features"] = info["features"]
    record["cores"] = len(cores(root)) or info["processors"] or os.cpu_count() or 1
    record["usable_cores"] = usable_cores()
    record["clusters"] = clusters(root)
    fastest = max(
        (khz for khz in (read_number(root, f"{core}/cpufreq/cpuinfo_max_freq") for core in cores(root)) if khz),
        default=None,
    )
    put(record, "max_mhz", fastest // 1000 if fastest else None, "the kernel shows no cpufreq for its cores")
    return record


def clusters(root: str = "/", usable: frozenset[int] | None = None) -> list[dict[str, Any]]:
    """Return the kinds of cores, the fastest first: {"cores": numbers, "capacity", "max_mhz"}.

    `capacity` is the kernel's own measure (1024 is the fastest core of the board), `max_mhz` cpufreq's; None where the kernel does not say. Cores alike in both are
    one cluster.

    Args:
        root: of /sys.
        usable: numbers of the cores that count; None is this process's affinity on its own machine.
    """
    if usable is None and hasattr(os, "sched_getaffinity"):
        usable = frozenset(os.sched_getaffinity(0))
    kinds: dict[tuple[int, int], list[int]] = {}
    for path in cores(root):
        number = int(path.rsplit("cpu", 1)[1])
        if usable is None or number in usable:
            capacity = read_number(root, f"{path}/cpu_capacity") or 0
            khz = read_number(root, f"{path}/cpufreq/cpuinfo_max_freq") or 0
            kinds.setdefault((capacity, khz), []).append(number)
    return [
        {"cores": numbers, "capacity": capacity or None, "max_mhz": khz // 1000 or None}
        for (capacity, khz), numbers in sorted(kinds.items(), reverse=True)
    ]


def cores(root: str) -> list[str]:
    """Return the sysfs folders of the cores."""
    return [path for path in listing(root, _CPU, "cpu") if path.rsplit("cpu", 1)[1].isdigit()]


def frequencies_khz(root: str = "/") -> dict[str, int] | None:
    """Return the clock of each core as the kernel asked for it; None without cpufreq.

    A Raspberry Pi's firmware may run slower than it was asked to.
    """
    found = {path.rsplit("/", 1)[1]: read_number(root, f"{path}/cpufreq/scaling_cur_freq") for path in cores(root)}
    return {name: khz for name, khz in found.items() if khz is not None} or None


def parse_time_in_state(text: str) -> dict[int, int]:
    """Read `<kHz> <ticks>` lines of cpufreq's time_in_state; ticks are units of 10 ms (the kernel's documentation of cpufreq-stats)."""
    pairs = (line.split() for line in text.splitlines())
    return {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2 and all(word.isdigit() for word in pair)}


def time_in_state(root: str = "/") -> dict[str, dict[int, int]] | None:
    """Return {group of cores: {kHz: ticks spent there since boot}}.

    None without cpufreq's statistics, and when there are several groups of one core each. A Raspberry Pi's firmware may run slower than the kernel believes.
    """
    found: dict[str, dict[int, int]] = {}
    sizes: list[int] = []
    for policy in listing(root, f"{_CPU}/cpufreq", "policy"):
        states = parse_time_in_state(read(root, f"{policy}/stats/time_in_state")[0] or "")
        if states:
            found[policy.rsplit("/", 1)[1]] = states
            sizes.append(len((read(root, f"{policy}/related_cpus")[0] or "").split()))
    return found if len(found) == 1 or max(sizes, default=0) > 1 else None


def governor(root: str = "/") -> tuple[str | None, str | None]:
    """Return the distinct governors of the cores, joined, and why not."""
    found = {(read(root, f"{path}/cpufreq/scaling_governor")[0] or "").strip() for path in cores(root)} - {""}
    return (
        (printable(",".join(sorted(found)), limit=80), None)
        if found
        else (None, "the kernel shows no cpufreq for its cores")
    )
