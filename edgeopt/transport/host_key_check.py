"""Is this the board that was trusted? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeopt.errors import HostKeyChanged, HostKeyUnknown
from edgeopt.transport.known_hosts import HostKey, Pins, find_pins

ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""Type of key -> signature algorithms, in the order in which they are asked for. SHA-1 and DSA are not among them."""


def read_pins(files: Iterable[Path], key_name: str) -> Pins:
    """Collect the trusted and revoked keys of a host from files that need not exist."""
    return find_pins((_text(path) for path in files), key_name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # No file trusts nobody: the error that follows says so.
        return ""


def algorithms_for(pins: Pins) -> tuple[str, ...]:
    """Return the host key algorithms to ask for: those of the trusted keys, all when nothing is trusted."""
    types = {key.type for key in pins.trusted} & set(ALGORITHMS) or set(ALGORITHMS)
    return tuple(name for kind, names in ALGORITHMS.items() if kind in types for name in names)


def check_host_key(key: HostKey, pins: Pins, *, label: str, place: str, advice: str) -> None:
    """Accept a host key or say why not.

    Args:
        key: what the host showed, and proved to have.
        pins: what is known of the host.
        label: how messages call it.
        place: its host and port.
        advice: what to do about an unknown or changed key.

    Raises:
        HostKeyUnknown: nothing is trusted for this host.
        HostKeyChanged: something else is trusted, or the key is revoked.
    """
    if key in pins.revoked:
        raise HostKeyChanged(
            f"{label}: {place} shows a host key that is marked as revoked: {_describe([key])}",
            hint="Somebody may pretend to be the board. Remove the @revoked line from the known_hosts file only if you know better.",
        )
    if not pins.trusted:
        raise HostKeyUnknown(f"{label}: the host key of {place} was never trusted: {_describe([key])}", hint=advice)
    if key not in pins.trusted:
        raise HostKeyChanged(
            f"{label}: {place} shows another host key than the trusted one. Trusted: {_describe(pins.trusted)}. Shown: {_describe([key])}",
            hint=f"Either the board was set up anew, or somebody pretends to be it. Compare the fingerprint on the board itself. {advice}",
        )


def _describe(keys: Sequence[HostKey]) -> str:
    return ", ".join(f"{key.type} {key.fingerprint}" for key in keys)
