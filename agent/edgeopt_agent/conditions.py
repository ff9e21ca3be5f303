"""Under which conditions a number was measured, and what casts doubt on it. Reading is at the top, the rules below are pure."""

from __future__ import annotations

import time

from edgeopt_agent.clock import unix_s, utc_text
from edgeopt_agent.probes import cpu, memory, put, read, thermal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOREIGN_SHARE = 0.03
"""Others used more than this share of the device's CPU time: `foreign-load`."""
_TICK_NOISE = 5
"""The kernel counts CPU time in ticks of 10 ms and is a few off in a short block."""
_CLOCK_STEP_S = 0.25
_SWAP_BYTES = 1 << 20
_THROTTLED_NOW = 0xF
_THROTTLED_SINCE_BOOT = 0xF0000


def observe(root: str = "/", sensors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """Read the conditions now.

    Args:
        root: where /proc and /sys are.
        sensors: temperatures to read, as `thermal.sensors` found them; they are looked for when this is None.
    """
    record: dict[str, Any] = {"monotonic_ns": time.monotonic_ns(), "unix_s": unix_s()}
    record["utc"] = utc_text(record["unix_s"])
    _put_cpu(record, root)
    temperatures = thermal.temperatures_c(thermal.sensors(root) if sensors is None else sensors, root)
    put(record, "temperature_c", temperatures, "the kernel shows no temperature sensor")
    put(record, "throttled", thermal.throttled(root), "only a Raspberry Pi's firmware has this word")
    put(record, "throttle_count", thermal.throttle_count(root), "the kernel counts no throttling here")
    put(
        record,
        "cooling_state",
        thermal.cooling_state(root),
        "the kernel has no device that slows the cores down to cool them",
    )
    _put_memory(record, root)
    return record


def _put_cpu(record: dict[str, Any], root: str) -> None:
    text, reason = read(root, "/proc/loadavg")
    put(record, "load1", cpu.parse_load(text or ""), reason or "/proc/loadavg is not as expected")
    text, reason = read(root, "/proc/stat")
    stat = cpu.parse_stat(text or "")
    why = reason or "/proc/stat is not as expected"
    put(record, "cpu_busy_ticks", stat["busy_ticks"], why)
    put(record, "cpu_total_ticks", stat["total_ticks"], why)
    put(record, "context_switches", stat["context_switches"], why)
    text, reason = read(root, "/proc/pressure/cpu")
    put(record, "cpu_pressure_us", cpu.parse_pressure(text or ""), reason or "/proc/pressure/cpu is not as expected")
    put(record, "freq_khz", cpu.frequencies_khz(root), "the kernel shows no cpufreq for its cores")


def _put_memory(record: dict[str, Any], root: str) -> None:
    sizes = memory.sizes(root)
    put(record, "mem_available_bytes", memory.available_bytes(sizes), "/proc/meminfo is not as expected")
    put(record, "swap_used_bytes", memory.swap_used_bytes(sizes), "/proc/meminfo is not as expected")
    put(record, "major_faults", memory.counters(root).get("pgmajfault"), "/proc/vmstat does not count them")


def flags(before: dict[str, Any], after: dict[str, Any], *, own_cpu_s: float, ticks_per_s: int) -> list[str]:
    """Say what casts doubt on what was measured between two observations.

    Args:
        before: conditions when the block began.
        after: conditions when it had ended.
        own_cpu_s: CPU time of the block and of the agent in between.
        ticks_per_s: the kernel's unit of CPU time.
    """
    found = {
        "foreign-load": _is_loaded(before, after, own_cpu_s * ticks_per_s),
        "throttled": _is_throttled(before, after),
        "clock-step": abs(_change(before, after, "unix_s") - _change(before, after, "monotonic_ns") / 1e9)
        > _CLOCK_STEP_S,
        "swapped": _change(before, after, "swap_used_bytes") > _SWAP_BYTES,
    }
    return [name for name, is_set in found.items() if is_set]


def _change(before: dict[str, Any], after: dict[str, Any], field: str) -> float:
    first, last = before.get(field), after.get(field)
    return 0.0 if first is None or last is None else float(last - first)


def _is_loaded(before: dict[str, Any], after: dict[str, Any], own_ticks: float) -> bool:
    foreign = _change(before, after, "cpu_busy_ticks") - own_ticks
    return foreign > max(FOREIGN_SHARE * _change(before, after, "cpu_total_ticks"), _TICK_NOISE)


def _is_throttled(before: dict[str, Any], after: dict[str, Any]) -> bool:
    first, last = before.get("throttled") or 0, after.get("throttled") or 0
    happened = (last & ~first) & _THROTTLED_SINCE_BOOT
    now = (first | last) & _THROTTLED_NOW
    cooled = max(before.get("cooling_state") or 0, after.get("cooling_state") or 0)
    return bool(happened or now or cooled > 0 or _change(before, after, "throttle_count") > 0)
