"""From an address to a link. The modules behind each way are imported only when it is taken."""

from __future__ import annotations

from pathlib import Path

from edgeopt.transport.address import AdbAddress, LocalAddress, parse_address
from edgeopt.transport.link import Link

STALL_TIMEOUT_S = 20.0
"""No byte moves for so long: the way is given up."""


def open_link(
    address: str,
    *,
    known_hosts: Path,
    identity: Path | None = None,
    connect_timeout_s: float = 10.0,
    name: str | None = None,
    stall_timeout_s: float = STALL_TIMEOUT_S,
) -> Link:
    """Open the way to a device.

    Args:
        address: `local:`, `ssh://[user@]host[:port]`, `adb://SERIAL` or `adb://host:port`.
        known_hosts: edgeopt's own file of trusted host keys; need not exist.
        identity: private key file; only it is offered.
        connect_timeout_s: for each of connection, key exchange and authentication; `ConnectTimeout` of the SSH configuration overrides it.
        name: how messages call the device; the address when None.
        stall_timeout_s: a transfer in which nothing moves for so long is given up.

    Raises:
        ConfigError: the address.
        LinkError: Unreachable, HostKeyUnknown, HostKeyChanged, AuthRefused, LinkUnsupported, LinkTimeout or LinkLost.
    """
    parsed = parse_address(address)
    if isinstance(parsed, LocalAddress):
        from edgeopt.transport.local import LocalLink

        return LocalLink(name=name or address, stall_timeout_s=stall_timeout_s)
    if isinstance(parsed, AdbAddress):
        from edgeopt.transport.adb import connect as connect_phone

        return connect_phone(
            parsed, connect_timeout_s=connect_timeout_s, name=name or address, stall_timeout_s=stall_timeout_s
        )
    from edgeopt.transport.ssh import connect

    return connect(
        parsed,
        known_hosts=known_hosts,
        identity=identity,
        connect_timeout_s=connect_timeout_s,
        name=name or address,
        stall_timeout_s=stall_timeout_s,
    )
