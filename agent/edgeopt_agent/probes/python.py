"""The interpreter and the C library: what wheels must be built for."""

from __future__ import annotations

import os
import struct
import sys

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import listing
from edgeopt_agent.runtime_store import python_tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_USERLAND_32 = {"aarch64": "armv7l", "x86_64": "i686", "riscv64": "riscv32"}


def userland(machine: str, bits: int) -> str:
    """Return the architecture of programs: a 32-bit Raspberry Pi OS runs on a 64-bit kernel, and uname speaks of the kernel."""
    return _USERLAND_32.get(machine, machine) if bits == 32 else machine


def libc() -> dict[str, str | None]:
    """Return name and version of the C library."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        text = None
    if text and " " in text:
        name, version = text.split(" ", 1)
        return {"name": name, "version": version}
    is_musl = any("ld-musl" in path for path in listing("/", "/lib", "ld-"))
    return {"name": "musl" if is_musl else None, "version": None}


def facts() -> dict[str, Any]:
    """Return the `python` fact."""
    bits = struct.calcsize("P") * 8
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "executable": printable(sys.executable),
        "bits": bits,
        "platform": f"linux-{userland(os.uname().machine, bits)}",
        "abi_tag": python_tag(),
    }
