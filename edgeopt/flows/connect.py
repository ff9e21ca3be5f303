"""Open a session with a device of the inventory."""

from __future__ import annotations

from pathlib import Path

from edgeopt.domain.device import Device
from edgeopt.errors import RuntimeMissing
from edgeopt.measure.session import Session
from edgeopt.profiles.places import Places
from edgeopt.transport.link import Link
from edgeopt.transport.open import open_link


def open_session(device: Device, places: Places, *, ephemeral: bool = False) -> Session:
    """Return a session with `device`, not opened yet: enter it with `with`.

    Its errors name the device.
    """

    def open_way() -> Link:
        identity = Path(device.identity).expanduser() if device.identity else None
        return open_link(device.address, known_hosts=places.known_hosts, identity=identity, name=device.name)

    return Session(device, open_way, ephemeral=ephemeral)


def runtime_site(facts: dict[str, object], device: Device, runtime: str) -> tuple[str | None, str]:
    """Return (folder to import the runtime from, None when the device's Python has it; its version).

    Raises:
        RuntimeMissing: it is not there, with what to do.
    """
    found = [r for r in facts.get("runtimes", []) if isinstance(r, dict) and r["name"] == runtime]  # type: ignore[attr-defined]
    if not found:
        reasons = facts.get("runtimes_reason") or {}
        why = reasons.get(runtime) if isinstance(reasons, dict) else None
        raise RuntimeMissing(
            f"{device.name}: {runtime} is not on the device" + (f" ({why})" if why else ""),
            hint=f"Run: edgeopt device setup {device.name}",
        )
    # What edgeopt shipped is preferred: it is known to fit and nobody else changes it.
    best = max(found, key=lambda r: r["source"] == "edgeopt")
    return best["site"], best["version"]
