"""A TCP connection that notices when the other side is gone."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from edgeopt.errors import LinkUnsupported, Unreachable
from edgeopt.transport.deadline import Deadline

KEEPALIVE_IDLE_S = 5
KEEPALIVE_INTERVAL_S = 5

_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
_CHECK = "Is the board on, on this network, and its SSH server running? Check the address with: edgeopt device list"


def open_socket(
    host: str, port: int, *, family: str, timeout_s: float, user_timeout_s: float, name: str
) -> socket.socket:
    """Connect to the first of the host's addresses that answers.

    TCP_NODELAY: without it Nagle and delayed ACKs cost 40 ms for each small round trip. TCP_USER_TIMEOUT: without it an upload into a black hole
    hangs for minutes.

    Args:
        host: name or IP address.
        port: TCP port.
        family: any, inet or inet6.
        timeout_s: for all addresses together.
        user_timeout_s: data that nobody acknowledges for so long breaks the connection.
        name: how messages call the device.

    Raises:
        Unreachable: name unknown, refused, no route, silent.
    """
    deadline = Deadline(timeout_s)
    last: OSError | None = None
    for kind, place in _resolve(host, port, family, name):
        try:
            return _connect(kind, place, deadline, user_timeout_s)
        except OSError as error:
            last = error
            if deadline.expired:
                break
    raise Unreachable(f"{name}: {host} port {port}: {_why(last, timeout_s)}", hint=_CHECK) from last


def _resolve(host: str, port: int, family: str, name: str) -> Iterator[tuple[socket.AddressFamily, tuple[object, ...]]]:
    if family not in _FAMILIES:
        raise LinkUnsupported(f"`AddressFamily {family}` in the SSH configuration; allowed are any, inet and inet6")
    try:
        found = socket.getaddrinfo(host, port, _FAMILIES[family], socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not a host name"
        raise Unreachable(f"{name}: the name {host} is not known: {detail}", hint=_CHECK) from error
    for kind, _, _, _, place in found:
        yield kind, place


def _connect(
    kind: socket.AddressFamily, place: tuple[object, ...], deadline: Deadline, user_timeout_s: float
) -> socket.socket:
    connection = socket.socket(kind, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_USER_TIMEOUT", int(user_timeout_s * 1000)),
        ):
            # Linux has all three; elsewhere the deadlines above do the work.
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        connection.settimeout(max(0.001, deadline.remaining))
        connection.connect(place)
    except BaseException:
        connection.close()
        raise
    return connection


def _why(error: OSError | None, timeout_s: float) -> str:
    if error is None:
        return "the name has no address"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if error.errno == errno.ECONNREFUSED:
        return "connection refused"
    return (error.strerror or str(error)).lower()
