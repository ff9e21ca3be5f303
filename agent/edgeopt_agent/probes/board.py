"""Which board this is, by its device tree, and by /proc/cpuinfo where that is hidden, as in a container; and whether it is one at all."""

from __future__ import annotations

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing, put, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


QEMU_TREE = "linux,dummy-virt"
"""What QEMU's machine `virt` calls itself in the device tree that it makes (hw/arm/virt.c)."""
QEMU_CARD = "QEMU!"
"""The product name that every SD card of QEMU's has (hw/sd/sd.c); its models of Raspberry Pis have the true boards' device trees."""


def parse_strings(text: str) -> list[str]:
    """Read the strings of a device-tree property, each ended by a NUL."""
    return [printable(part, limit=120) for part in text.split("\0") if part.strip()][:32]


def parse_identity(text: str) -> dict[str, str]:
    """Read what /proc/cpuinfo of an Arm board says of the board, below its cores: `model`, `hardware` and `revision`, or less."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        name, said = key.strip(), printable(value, limit=120)
        if name in ("Model", "Hardware", "Revision") and said:
            found[name.lower()] = said
    return found


def facts(root: str = "/") -> dict[str, Any]:
    """Return the `board` fact."""
    text, reason = read(root, "/proc/device-tree/model")
    model = parse_strings(text or "")
    record: dict[str, Any] = {}
    put(record, "dt_model", model[0] if model else None, reason or "the device tree names no model")
    record["dt_compatible"] = parse_strings(read(root, "/proc/device-tree/compatible")[0] or "")
    record["cpuinfo"] = parse_identity(read(root, "/proc/cpuinfo")[0] or "")
    put(record, "virtual", virtual(record["dt_compatible"], root), "nothing shows that it is a virtual machine")
    return record


def virtual(compatible: list[str], root: str = "/") -> str | None:
    """Return what shows that an Arm board is a virtual or emulated machine, whose times say nothing about a board; None when nothing does.

    Args:
        compatible: strings of the device tree.
        root: of /sys.
    """
    if QEMU_TREE in compatible:
        return f"its device tree says {QEMU_TREE}"
    cards = (read(root, f"{card}/device/name")[0] or "" for card in listing(root, "/sys/block", "mmcblk"))
    return f"its SD card is called {QEMU_CARD}" if any(name.strip() == QEMU_CARD for name in cards) else None
