"""Addresses of devices, as people write them: `local:`, `ssh://[user@]host[:port]`, `adb://SERIAL` and `adb://host:port`. Pure.

What is refused here never reaches a resolver, a command line or a log: control characters, passwords, and names that a program could take for an option.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from edgeopt.errors import ConfigError

ALLOWED = "allowed are local:, ssh://[user@]host[:port], and for phones adb://SERIAL, adb://host:port and adb:// (the only one that is connected)"
MAX_LENGTH = 512

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+$-]{0,254}")
_SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ZONE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,31}")


class LocalAddress(msgspec.Struct, frozen=True, kw_only=True):
    """This computer."""


class SshAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A host with an SSH server. `user` and `port` are None when the address leaves them to the SSH configuration."""

    host: str
    user: str | None = None
    port: int | None = None


class AdbAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A phone: of this serial number, over the network when there is a port, or the only one that is connected when `serial` is None."""

    serial: str | None = None
    port: int | None = None

    @property
    def place(self) -> str:
        """`host:port`, as adb writes it; only where there is a port."""
        host = f"[{self.serial}]" if ":" in (self.serial or "") else self.serial
        return f"{host}:{self.port}"


Address = LocalAddress | SshAddress | AdbAddress


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        ConfigError: it is not an address, or holds something that must not be in one.
    """
    if len(text) > MAX_LENGTH or not text.isprintable() or any(c.isspace() for c in text):
        raise ConfigError(f"the address {text[:80]!r} holds a space, a control character or is too long; {ALLOWED}")
    if text == "local:":
        return LocalAddress()
    if text.startswith("adb://"):
        return _parse_adb(text.removeprefix("adb://"), text)
    if not text.startswith("ssh://"):
        raise ConfigError(f"{text!r} is not an address; {ALLOWED}", hint="For example: ssh://pi@raspberrypi.local")
    return parse_hop(text.removeprefix("ssh://"), whole=text)


def parse_hop(rest: str, *, whole: str | None = None) -> SshAddress:
    """Read `[user@]host[:port]`, the part of an address after `ssh://` and the form of each hop in ProxyJump.

    Raises:
        ConfigError: as `parse_address`, and it quotes `whole`.
    """
    whole = rest if whole is None else whole
    user, at, place = rest.rpartition("@")
    if ":" in user:
        # The text is not quoted: what stands there is a secret.
        raise ConfigError(
            f"an address must not hold a password; {ALLOWED}", hint="Use an SSH key: ssh-copy-id user@host"
        )
    if at and not _USER.fullmatch(user):
        raise ConfigError(f"{user!r} in the address {whole!r} is not a user name; {ALLOWED}")
    host, port = _split_port(place, whole)
    return SshAddress(host=_check_host(host, whole), user=user or None, port=port)


def _parse_adb(rest: str, whole: str) -> AdbAddress:
    if rest.startswith("[") or ":" in rest:
        host, port = _split_port(rest, whole)
        if port is None:
            raise ConfigError(f"the address {whole!r} has no port; write adb://host:5555")
        return AdbAddress(serial=_check_host(host, whole), port=port)
    if rest and not _SERIAL.fullmatch(rest):
        raise ConfigError(
            f"{rest!r} in the address {whole!r} is not a serial number; `adb devices` lists those of the phones that are connected"
        )
    return AdbAddress(serial=rest or None)


def format_address(address: Address) -> str:
    """Write an address so that `parse_address` gives it back."""
    if isinstance(address, LocalAddress):
        return "local:"
    if isinstance(address, AdbAddress):
        return f"adb://{address.serial or '' if address.port is None else address.place}"
    user = f"{address.user}@" if address.user else ""
    host = f"[{address.host}]" if ":" in address.host else address.host
    port = f":{address.port}" if address.port is not None else ""
    return f"ssh://{user}{host}{port}"


def _split_port(place: str, whole: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, closed, after = place.partition("]")
        if not closed or ":" not in host or (after and not after.startswith(":")):
            raise ConfigError(f"the brackets in {whole!r} do not hold an IPv6 address; write ssh://[fe80::1%eth0]:22")
        return host + "]", _port(after[1:], whole) if after else None
    host, colon, port = place.partition(":")
    if ":" in port:
        raise ConfigError(
            f"an IPv6 address stands in brackets: ssh://[{place.rstrip('/')}]", hint=f"{whole!r} has none."
        )
    return host, _port(port, whole) if colon else None


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ConfigError(f"{text!r} in the address {whole!r} is not a port; allowed are 1 to 65535")
    return int(text)


def _check_host(host: str, whole: str) -> str:
    if host.startswith("["):
        bare, percent, zone = host[1:-1].partition("%")
        try:
            ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise ConfigError(f"{bare!r} in the address {whole!r} is not an IPv6 address") from error
        if percent and not _ZONE.fullmatch(zone):
            raise ConfigError(f"{zone!r} in the address {whole!r} is not the name of a network interface")
        return host[1:-1]
    if not _HOST.fullmatch(host):
        raise ConfigError(
            f"{host!r} in the address {whole!r} is not a host; allowed are names of letters, digits, '.', '_' and '-' that do not begin "
            f"with '-', and IPv6 addresses in brackets; {ALLOWED}"
        )
    return host
