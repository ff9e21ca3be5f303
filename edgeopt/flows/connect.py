"""Open a session with a device of the inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.domain.device import Device
from edgeopt.errors import RuntimeMissing
from edgeopt.measure.session import Session
from edgeopt.measure.wheels import is_new_enough, oldest
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

    if device.address.startswith("adb:"):
        from edgeopt.measure.phone.session import PhoneSession

        return PhoneSession(device, open_way, ephemeral=ephemeral)
    return Session(device, open_way, ephemeral=ephemeral)


DEFAULT = "onnxruntime"
"""What runs the original."""

FROM_THE_SYSTEM = {
    "tensorrt": "It comes with the board's system: sudo apt install libnvinfer-bin python3-numpy (JetPack has both)"
}
"""Runtimes that nobody publishes as wheels -> how to have them."""


class Runtimes(msgspec.Struct, frozen=True, kw_only=True):
    """What can run models on a device: runtime -> folder to import it from (None: the device's Python has it), and its version; and why others cannot."""

    sites: dict[str, str | None]
    versions: dict[str, str]
    missing: dict[str, str]


def usable_runtimes(facts: Mapping[str, Any], device: Device, wanted: Sequence[str]) -> Runtimes:
    """Return which of the runtimes are there.

    Raises:
        RuntimeMissing: none of them.
    """
    sites: dict[str, str | None] = {}
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    first: RuntimeMissing | None = None
    for name in wanted:
        try:
            sites[name], versions[name] = runtime_site(facts, device, name)
        except RuntimeMissing as error:
            first = first or error
            missing[name] = f"{error.message}: {_remedy(error)}"
    if first is not None and not sites:
        raise first
    return Runtimes(sites=sites, versions=versions, missing=missing)


def _remedy(error: RuntimeMissing) -> str:
    return (error.hint or "").removeprefix("Run: ")


def runtime_site(facts: Mapping[str, Any], device: Device, runtime: str) -> tuple[str | None, str]:
    """Return (folder to import the runtime from, None when the device's Python has it; its version).

    Raises:
        RuntimeMissing: it is not there, does not load, or is too old, with what to do.
    """
    there = [item for item in facts.get("runtimes") or () if item["name"] == runtime]
    new_enough = [item for item in there if is_new_enough(runtime, item["version"])]
    if new_enough:
        # What edgeopt shipped is preferred: it is known to fit and nobody else changes it.
        best = max(new_enough, key=lambda item: item["source"] == "edgeopt")
        return best["site"], best["version"]
    if runtime in FROM_THE_SYSTEM:
        raise RuntimeMissing(f"{device.name}: {_lack(facts, runtime, there)}", hint=FROM_THE_SYSTEM[runtime])
    option = "" if runtime == DEFAULT else f" --runtime {runtime}"
    raise RuntimeMissing(
        f"{device.name}: {_lack(facts, runtime, there)}", hint=f"Run: edgeopt device setup {device.name}{option}"
    )


def _lack(facts: Mapping[str, Any], runtime: str, there: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a runtime that cannot be used, in words."""
    if there:
        return f"{runtime} {there[0]['version']} is older than {oldest(runtime)}, the oldest that edgeopt uses"
    reasons = facts.get("runtimes_reason") or {}
    broken = {name: why for name, why in reasons.items() if name.startswith(f"{runtime} ")}
    if broken:
        return "; ".join(f"{name} does not load there: {why}" for name, why in broken.items())
    why = reasons.get(runtime)
    return f"{runtime} is not on the device" + (f" ({why})" if why else "")
