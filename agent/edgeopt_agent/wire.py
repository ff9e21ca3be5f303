"""Frames: 4 bytes of length, big-endian, then one JSON object. Pure; host and agent share this file.

Whatever comes from the other side is bounded before it is trusted: length, nesting, digits of a number. A violation is a `WireError` and ends the
conversation, because nothing that follows can be aligned.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Readable(Protocol):
        """Anything with a `read` that may return less than asked, and nothing at the end."""

        def read(self, limit: int, /) -> bytes:
            """Return up to `limit` bytes."""


PROTOCOL = 1
"""Version of docs/wire-protocol.md."""

HEADER_BYTES = 4
MAX_BODY_BYTES = 1 << 20
MAX_FRAME_BYTES = HEADER_BYTES + MAX_BODY_BYTES
MAX_DEPTH = 32
MAX_NOISE_BYTES = 64 << 10
"""What a login shell may print before the sentinel."""

_MAX_DIGITS = 20


class WireError(ValueError):
    """The other side does not speak the protocol."""


def encode(message: dict[str, Any]) -> bytes:
    """Return the frame of `message`.

    Raises:
        WireError: it is too long, nests too deep, or holds something that JSON has not (NaN, infinity, bytes).
    """
    try:
        body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if len(body) > MAX_BODY_BYTES:
        raise WireError(f"a frame of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}")
    _check_depth(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def decode(body: bytes) -> dict[str, Any]:
    """Return the object in the body of a frame.

    Raises:
        WireError: not UTF-8, not JSON, not an object, nested too deep, NaN or a number beyond 64 bits.
    """
    try:
        message = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a JSON object: {error}"[:200]) from error
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    _check_depth(message)
    return message


def take(received: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """Cut the first message off what was received.

    Returns:
        (message, what follows it), or (None, everything) when more bytes are needed.

    Raises:
        WireError: the length is 0 or over the limit, or the body is bad.
    """
    if len(received) < HEADER_BYTES:
        return None, received
    end = HEADER_BYTES + _checked_length(received[:HEADER_BYTES])
    if len(received) < end:
        return None, received
    return decode(received[HEADER_BYTES:end]), received[end:]


def read_frame(stream: Readable) -> dict[str, Any] | None:
    """Read one message from a file; None when the stream ended before a frame began. Never reads beyond the frame.

    Raises:
        WireError: the frame is bad, or the stream ended inside it.
    """
    header = _read_exactly(stream, HEADER_BYTES)
    if not header:
        return None
    if len(header) < HEADER_BYTES:
        raise WireError("the stream ended inside a frame")
    length = _checked_length(header)
    body = _read_exactly(stream, length)
    if len(body) < length:
        raise WireError("the stream ended inside a frame")
    return decode(body)


def after_sentinel(received: bytes, sentinel: str) -> bytes | None:
    """Return what follows the agent's sentinel line, or None when it has not come yet.

    Args:
        received: everything that came so far.
        sentinel: the 32 hex digits that the agent was started with. Only a line of its own counts: a shell that echoes commands prints it too.

    Raises:
        WireError: more than 64 KiB came without it.
    """
    _, found, rest = (b"\n" + received).partition(b"\n" + sentinel.encode("ascii") + b"\n")
    if found:
        return rest
    if len(received) > MAX_NOISE_BYTES:
        raise WireError(f"more than {MAX_NOISE_BYTES} bytes came before the agent's first word")
    return None


def _checked_length(header: bytes) -> int:
    length = int.from_bytes(header, "big")
    if not 1 <= length <= MAX_BODY_BYTES:
        raise WireError(f"a frame of {length} bytes is outside of 1 to {MAX_BODY_BYTES}")
    return length


def _read_exactly(stream: Readable, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        data = stream.read(count - len(parts))
        if not data:
            break
        parts += data
    return bytes(parts)


def _check_depth(message: dict[str, Any]) -> None:
    level: list[Any] = [message]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise WireError(f"nested more than {MAX_DEPTH} deep")
        below: list[Any] = []
        for item in level:
            values = item.values() if isinstance(item, dict) else item
            below.extend(v for v in values if isinstance(v, (dict, list, tuple)))
        level = below


def _integer(text: str) -> int:
    # Python reads a million digits, in seconds.
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number of more than 64 bits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number beyond double precision")
    return value


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_constant)
