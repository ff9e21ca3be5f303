"""Memory: of the device, and of this process by the kernel's own high-water mark (never ru_maxrss, which a parent passes on to its children)."""

from __future__ import annotations

import os

from edgeopt_agent.probes import put, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_sizes(text: str) -> dict[str, int]:
    """Read the `Name:  123 kB` lines of /proc/meminfo or /proc/self/status; values in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name.strip()] = int(words[0]) * 1024
    return found


def parse_counters(text: str) -> dict[str, int]:
    """Read the `name 123` lines of /proc/vmstat."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def sizes(root: str = "/") -> dict[str, int]:
    """Return /proc/meminfo in bytes; empty when it cannot be read."""
    return parse_sizes(read(root, "/proc/meminfo")[0] or "")


def available_bytes(found: dict[str, int]) -> int | None:
    """Return what new processes may use; kernels before 3.14 do not say, then free memory and caches."""
    if "MemAvailable" in found:
        return found["MemAvailable"]
    return found["MemFree"] + found.get("Buffers", 0) + found.get("Cached", 0) if "MemFree" in found else None


def swap_used_bytes(found: dict[str, int]) -> int | None:
    """Return the swap in use."""
    return found["SwapTotal"] - found["SwapFree"] if "SwapTotal" in found and "SwapFree" in found else None


def facts(root: str = "/") -> dict[str, Any]:
    """Return the `memory` fact."""
    found = sizes(root)
    record: dict[str, Any] = {}
    put(record, "total_bytes", found.get("MemTotal"), "/proc/meminfo has no MemTotal")
    put(record, "available_bytes", available_bytes(found), "/proc/meminfo has no MemAvailable")
    put(record, "swap_bytes", found.get("SwapTotal"), "/proc/meminfo has no SwapTotal")
    record["page_bytes"] = os.sysconf("SC_PAGE_SIZE")
    return record


def counters(root: str = "/") -> dict[str, int]:
    """Return /proc/vmstat; empty when it cannot be read."""
    return parse_counters(read(root, "/proc/vmstat")[0] or "")


def own_peak_bytes() -> int | None:
    """Return VmHWM of this process."""
    return own_sizes().get("VmHWM")


def peak_bytes_of(pid: int, root: str = "/") -> int | None:
    """Return VmHWM of another process; None when it is gone."""
    return parse_sizes(read(root, f"/proc/{pid}/status")[0] or "").get("VmHWM")


def own_sizes(root: str = "/") -> dict[str, int]:
    """Return the sizes in /proc/self/status in bytes; empty when it cannot be read."""
    return parse_sizes(read(root, "/proc/self/status")[0] or "")


def of_process(found: dict[str, int]) -> dict[str, Any]:
    """Return what a process holds, from its /proc/<pid>/status.

    peak_rss_bytes: VmHWM, the most that was resident at once since it was executed; the kernel starts anew at every exec, so nothing of the parent is in it.
    anon_bytes, file_bytes, shared_bytes: RssAnon, RssFile, RssShmem now (Linux 4.5). Only anonymous memory counts when a board runs out: pages of files can be read again.
    """
    record: dict[str, Any] = {}
    put(record, "peak_rss_bytes", found.get("VmHWM"), "/proc/self/status has no VmHWM")
    for field, name in (("anon_bytes", "RssAnon"), ("file_bytes", "RssFile"), ("shared_bytes", "RssShmem")):
        put(record, field, found.get(name), f"/proc/self/status has no {name}; Linux has it from 4.5 on")
    return record
