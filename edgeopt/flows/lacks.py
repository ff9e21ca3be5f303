"""Why a runtime is not to be had for a device, by what was looked up for its operating system. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.domain.device import Profile
from edgeopt.measure.wheels import DevicePython
from edgeopt.profiles.availability import availability


def lack(runtime: str, target: DevicePython, known: Sequence[Profile]) -> str | None:
    """Return why nobody publishes a runtime for a Python, and what to do; None where somebody does, or nobody has looked.

    Args:
        runtime: its name.
        target: the device's Python.
        known: every kind of board, with the systems that they run.
    """
    systems = [system for profile in known for system in profile.systems]
    glibc = target.libc_version if target.libc == "glibc" else None
    found = availability(runtime, systems, arch=target.machine, python=target.version, glibc=glibc)
    return None if found is None else found.reason
