"""From a route to an authenticated SSH connection: socket, key exchange, host key, user key, hop by hop.

Rules: a host key that was not trusted before is refused, for jump hosts too; nothing is ever trusted by itself. Only host key algorithms for which a key
is trusted are asked for, so that a board with keys of several types does not look changed. Nothing waits without a limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import socket
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from edgeopt.errors import LinkError, LinkTimeout, Unreachable
from edgeopt.transport.host_key_check import ALGORITHMS, algorithms_for, check_host_key, read_pins
from edgeopt.transport.known_hosts import HostKey
from edgeopt.transport.sockets import open_socket
from edgeopt.transport.ssh_auth import authenticate
from edgeopt.transport.ssh_config import Hop
from edgeopt.transport.stall import StallGuard

KEY_EXCHANGE_TIMEOUT_S = 15.0
AUTH_TIMEOUT_S = 30.0
SSH_KEEPALIVE_S = 10

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
"""One pass instead of cipher and HMAC where the server can; the old CBC ciphers are not offered."""

LOG = "edgeopt.transport.paramiko"
# paramiko's thread logs tracebacks of errors that leave here, translated, anyway.
logging.getLogger(LOG).setLevel(logging.CRITICAL + 1)


class _NoSuchHostKey(LinkError):
    """The server has no host key of a type that was asked for."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How to connect, beside the route.

    `known_hosts` is edgeopt's own file. `name` is how messages call the device. `home` is this user's home folder.
    """

    known_hosts: Path
    identity: Path | None
    home: Path
    name: str
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 20.0

    @property
    def user_timeout_s(self) -> float:
        """Below the stall timeout, so that a dead way is called dead and not slow."""
        return self.stall_timeout_s * 0.75


class _Tunnel:
    """A channel as the socket of the next conversation: closing it after the way is gone is no error. Paramiko raises one in its thread, before that has told whoever waits for it."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()


class Connection:
    """A connection through one server or several; closing it closes all of them."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._transports: list[paramiko.Transport] = []
        self.guard = StallGuard(self.break_off)

    @property
    def transport(self) -> paramiko.Transport:
        """The last server's."""
        return self._transports[-1]

    def next_socket(self, hop: Hop, label: str, timeout_s: float) -> Any:
        """Return what the conversation with the next server runs on: the socket, or a tunnel from the last server. Raises LinkError."""
        if not self._transports:
            return self._wire
        try:
            return _Tunnel(
                self.transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=timeout_s)
            )
        except paramiko.ChannelException as error:
            if error.code == 1:
                raise Unreachable(
                    f"{label}: the jump host forbids connections to {hop.place}",
                    hint="AllowTcpForwarding in its sshd_config.",
                ) from error
            raise Unreachable(f"{label}: the jump host cannot connect to {hop.place}: {error.text}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise Unreachable(
                f"{label}: no tunnel through the jump host to {hop.place} within {timeout_s:g} s"
            ) from error

    def append(self, transport: paramiko.Transport) -> None:
        """One server further; it is closed with the connection."""
        self._transports.append(transport)

    def outstanding_bytes(self) -> int:
        """Return what was sent and not acknowledged: it changes while bytes leave this computer."""
        count = bytearray(4)
        with contextlib.suppress(OSError, ValueError):
            fcntl.ioctl(self._wire.fileno(), termios.TIOCOUTQ, count)
        return int.from_bytes(count, "little")

    def break_off(self) -> None:
        """End it at once, from any thread. Never blocks or raises; what waits on it gets an error."""
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and give everything back. Never raises, never waits for the other side."""
        self.guard.close()
        self.break_off()
        for transport in reversed(self._transports):
            # Without this the timer of an unfinished key exchange keeps the process alive.
            transport.packetizer.complete_handshake()
            if transport.is_alive():
                transport.join(2.0)
        self._wire.close()


def open_route(hops: Sequence[Hop], login: Login) -> Connection:
    """Connect through all hops, verifying and authenticating each.

    Raises:
        LinkError: as `edgeopt.transport.open.open_link`.
    """
    connection = _dial(hops, login)
    try:
        for number in range(len(hops)):
            _log_in(connection, hops, number, login)
    except BaseException:
        connection.close()
        raise
    return connection


def read_host_key(hops: Sequence[Hop], login: Login) -> HostKey:
    """Return the host key that the last hop shows, unverified. Hops before it are verified as always.

    Raises:
        LinkError: it cannot be reached.
    """
    connection = _dial(hops, login)
    try:
        for number in range(len(hops) - 1):
            _log_in(connection, hops, number, login)
        everything = tuple(name for names in ALGORITHMS.values() for name in names)
        return _negotiate(connection, hops[-1], login.name, login, everything)
    finally:
        connection.close()


def _label(hop: Hop, hops: Sequence[Hop], login: Login) -> str:
    return login.name if hop is hops[-1] else f"{login.name}: jump host {hop.place}"


def _dial(hops: Sequence[Hop], login: Login) -> Connection:
    hop = hops[0]
    return Connection(
        open_socket(
            hop.host,
            hop.port,
            family=hop.address_family,
            timeout_s=hop.connect_timeout_s or login.connect_timeout_s,
            user_timeout_s=login.user_timeout_s,
            name=_label(hop, hops, login),
        )
    )


def _log_in(connection: Connection, hops: Sequence[Hop], number: int, login: Login) -> None:
    hop, last = hops[number], number == len(hops) - 1
    label = _label(hop, hops, login)
    # edgeopt's own file goes first.
    pins = read_pins((login.known_hosts, *hop.known_hosts), hop.key_name)
    try:
        key = _negotiate(connection, hop, label, login, algorithms_for(pins))
    except _NoSuchHostKey:
        if not pins.trusted:
            raise
        # Look again, asking for everything, so that the message can show what is there instead.
        key = read_host_key(hops[: number + 1], login)
    advice = (
        f"Run: edgeopt device trust {login.name}" if last else f"Run once: ssh {hop.host}. It shows and keeps the key."
    )
    check_host_key(key, pins, label=label, place=hop.place, advice=advice)
    # An identity that was named is the board's; jump hosts have theirs in the SSH configuration.
    authenticate(connection.transport, hop, login.identity if last else None, login.home, label)
    connection.transport.set_keepalive(SSH_KEEPALIVE_S)


def _negotiate(connection: Connection, hop: Hop, label: str, login: Login, algorithms: Sequence[str]) -> HostKey:
    """Exchange keys with the next server and return the key with which it signed the exchange."""
    timeout_s = hop.connect_timeout_s or login.connect_timeout_s
    done = threading.Event()
    transport = paramiko.Transport(connection.next_socket(hop, label, timeout_s))
    connection.append(transport)
    _configure(transport, algorithms, timeout_s, login)
    transport.start_client(event=done)
    if not done.wait(timeout_s + KEY_EXCHANGE_TIMEOUT_S):
        raise LinkTimeout(
            f"{label}: {hop.place} did not finish the key exchange within {timeout_s + KEY_EXCHANGE_TIMEOUT_S:g} s"
        )
    if not transport.is_active():
        raise _negotiation_error(transport.get_exception(), hop, label, timeout_s)
    shown = transport.get_remote_server_key()
    return HostKey(type=shown.get_name(), raw=shown.asbytes())


def _configure(transport: paramiko.Transport, algorithms: Sequence[str], timeout_s: float, login: Login) -> None:
    transport.set_log_channel(LOG)
    transport.daemon = True
    transport.banner_timeout = timeout_s
    transport.handshake_timeout = KEY_EXCHANGE_TIMEOUT_S
    transport.auth_timeout = AUTH_TIMEOUT_S
    transport.channel_timeout = login.stall_timeout_s
    options = transport.get_security_options()
    options.key_types = tuple(algorithms)
    options.ciphers = CIPHERS
    options.digests = tuple(name for name in options.digests if "md5" not in name and "96" not in name)


def _negotiation_error(error: BaseException | None, hop: Hop, label: str, timeout_s: float) -> LinkError:
    problem: LinkError
    if isinstance(error, IncompatiblePeer):
        kind = _NoSuchHostKey if "host key" in str(error) else LinkError
        problem = kind(
            f"{label}: the SSH server of {hop.place} is too old: {error}",
            hint="Update it: algorithms that are not safe any more (SHA-1, DSA) are not used.",
        )
    elif "banner" in str(error):
        problem = Unreachable(
            f"{label}: something answers at {hop.place}, but did not greet as an SSH server within {timeout_s:g} s",
            hint="Is that the right port?",
        )
    else:
        problem = Unreachable(
            f"{label}: {hop.place} broke the connection during the key exchange",
            hint="Too many connections at once? Try again in a minute.",
        )
    problem.__cause__ = error
    return problem
