"""Meters that this computer reads itself: Shelly and Tasmota plugs in the mains, over HTTP in the local network. No password is sent, none can be named."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec

from edgeopt.domain.energy import PowerSensor
from edgeopt.errors import ConfigError, MeterError
from edgeopt.measure.meter_replies import shelly_gen1_watts, shelly_gen2_watts, shelly_generation, tasmota_watts
from edgeopt.measure.session import Session

KINDS = ("shelly", "tasmota")
RAIL = "mains"
_ALLOWED = "allowed: shelly://HOST or tasmota://HOST, with :PORT and /CHANNEL where needed"
_TIMEOUT_S = 3.0
_DEADLINE_S = 5.0
_MAX_BYTES = 64 << 10
_PERIOD_S = 1.0
"""Plugs renew their value about once a second."""
_CLOCK_TRIES = 5


class MeterAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a meter is and what it speaks."""

    kind: str
    host: str
    port: int = 80
    channel: int = 0


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """A meter that has answered. `read` returns {rail: watts}, empty when it does not answer now: a gap."""

    sensor: PowerSensor
    read: Callable[[], dict[str, float]]


def parse_meter(text: str) -> MeterAddress:
    """Read `shelly://192.168.1.20`, `tasmota://plug.local:8080/1`.

    Raises:
        ConfigError: something else, or a password in it; the message does not repeat that.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or 80
        host = parts.hostname
    except ValueError as error:
        raise ConfigError(f"meter: not an address, {_ALLOWED}") from error
    if "@" in parts.netloc:
        raise ConfigError(
            f"meter: found a user or password in it, {_ALLOWED}",
            hint="edgeopt sends no passwords to meters; switch the plug's off while measuring, in a network that you trust.",
        )
    channel = parts.path.strip("/") or "0"
    if parts.scheme not in KINDS or not host or not channel.isdecimal() or parts.query or parts.fragment:
        raise ConfigError(f'meter: found "{text[:80]}", {_ALLOWED}')
    return MeterAddress(kind=parts.scheme, host=host, port=port, channel=int(channel))


def open_meter(address: MeterAddress) -> Meter:
    """Find out what the meter speaks, and read it once.

    Raises:
        MeterError: it does not answer, or not as a meter does.
    """
    name, path, watts = _dialect(address)
    if watts(_fetch(address, path)) is None:
        raise MeterError(
            f"the meter at {address.host} tells no power on channel {address.channel}",
            hint="Look at its own page: does this plug have a meter, and is its channel 0 or 1?",
        )

    def read() -> dict[str, float]:
        try:
            value = watts(_fetch(address, path))
        except MeterError:
            return {}
        return {} if value is None else {RAIL: value}

    sensor = PowerSensor(
        name=name,
        grade="E",
        kind="sample",
        rails=(RAIL,),
        total=(RAIL,),
        total_rule="everything on the plug: the board, its power supply and what hangs on it",
        period_s=_PERIOD_S,
        # Makers of plugs promise 1 to 2 %, and none below a watt.
        gain=0.01,
        offset_w=0.5,
        source="shelly-api-docs.shelly.cloud; tasmota.github.io/docs/Commands",
    )
    return Meter(sensor=sensor, read=read)


def _dialect(address: MeterAddress) -> tuple[str, str, Callable[[dict[str, Any]], float | None]]:
    """Return the name, the path and the parser."""
    if address.kind == "tasmota":
        return "tasmota", "/cm?cmnd=Status%208", lambda reply: tasmota_watts(reply, address.channel)
    generation = shelly_generation(_fetch(address, "/shelly"))
    if generation is None:
        raise MeterError(f"what answers at {address.host} is not a Shelly", hint="Is the address right?")
    if generation == 1:
        return "shelly (generation 1)", f"/meter/{address.channel}", shelly_gen1_watts
    return f"shelly (generation {generation})", f"/rpc/Switch.GetStatus?id={address.channel}", shelly_gen2_watts


def _fetch(address: MeterAddress, path: str) -> dict[str, Any]:
    """Ask once, without proxies and without following anything.

    Raises:
        MeterError: no answer, another than 200, too long, not a JSON object.
    """
    connection = HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    try:
        connection.connect()
        end = _end_after(connection.sock, _DEADLINE_S)
    except OSError as error:
        connection.close()
        raise _silent(address, error) from error
    try:
        connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
        response = connection.getresponse()
        body = response.read(_MAX_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise _silent(address, error) from error
    finally:
        end.cancel()
        connection.close()
    if response.status in (401, 403):
        raise MeterError(
            f"the meter at {address.host} asks for a password, and edgeopt sends none",
            hint="Switch the plug's password off while measuring, in a network that you trust.",
        )
    if response.status != 200 or len(body) > _MAX_BYTES:
        raise MeterError(f"the meter at {address.host} answered with status {response.status}, {len(body)} bytes")
    return _object(address, body)


def _end_after(connected: socket.socket, seconds: float) -> threading.Timer:
    """End a conversation after so long: a timeout of the socket alone lets a peer send one byte at a time for ever."""

    def end() -> None:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def _silent(address: MeterAddress, error: Exception) -> MeterError:
    why = str(error) or type(error).__name__
    return MeterError(
        f"the meter at {address.host}:{address.port} does not answer: {why[:200]}",
        hint="Is it on, and in the same network as this computer?",
    )


def _object(address: MeterAddress, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MeterError(f"what answers at {address.host} is not a meter: no JSON") from error
    if not isinstance(found, dict):
        raise MeterError(f"what answers at {address.host} is not a meter: no JSON object")
    return found


def clock_offset_ns(session: Session) -> tuple[int, int]:
    """Return what to add to this computer's monotonic clock to get the device's, and by how much that may be off: half of the shortest of a few round trips."""
    best: tuple[int, int] | None = None
    for _ in range(_CLOCK_TRIES):
        before = time.monotonic_ns()
        told = session.call("sample", {"seconds": 0, "period_s": 1})["conditions"][0]["monotonic_ns"]
        after = time.monotonic_ns()
        found = (told - (before + after) // 2, (after - before) // 2)
        best = found if best is None or found[1] < best[1] else best
    assert best is not None  # noqa: S101 - at least one try
    return best
