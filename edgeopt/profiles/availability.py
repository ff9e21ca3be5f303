"""Whether a runtime is to be had for a device's Python, by what was looked up for its operating system. Pure; `device setup` asks the package index itself."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgeopt.domain.board import System


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Either `package` and `version`, the newest there is, or `reason`, why there is none and what to do."""

    package: str | None = None
    version: str | None = None
    reason: str | None = None


def availability(
    runtime: str, systems: Iterable[System], *, arch: str, python: str, glibc: str | None
) -> Availability | None:
    """Return what is known of a runtime for a Python; None where nobody has looked.

    A newer glibc loads what an older one does (PEP 600), so the system with the newest one that is no newer than the device's counts.

    Args:
        runtime: its name.
        systems: of all profiles.
        arch: of the device's programs, in a profile's words.
        python: the device's version, `3.11.2`.
        glibc: its version, `2.36`; None for another C library.
    """
    minor = ".".join(python.split(".")[:2])
    theirs = _numbers(glibc)
    fitting = [s for s in systems if s.arch == arch and s.python == minor and theirs and _numbers(s.glibc) <= theirs]
    if not fitting:
        return None
    system = max(fitting, key=lambda s: _numbers(s.glibc))
    for wheel in system.wheels:
        if wheel.runtime == runtime:
            return Availability(package=wheel.package, version=wheel.version)
    return next((Availability(reason=reason) for name, reason in system.lacks.items() if name == runtime), None)


def _numbers(version: str | None) -> tuple[int, ...]:
    """Return `2.36` as (2, 36); () for what is no such version."""
    parts = (version or "").split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() and len(part) < 9 for part in parts) else ()
