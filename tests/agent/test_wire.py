"""Frames: what goes in comes out, and nothing that comes from outside gets further than a WireError."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent import wire

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
messages = st.dictionaries(st.text(), values, max_size=5)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(messages)
def test_a_message_survives_encoding(message: dict[str, Any]) -> None:
    assert wire.take(wire.encode(message)) == (message, b"")


@given(st.lists(messages, max_size=4), st.data())
def test_messages_are_cut_from_a_stream_however_it_is_chopped(sent: list[dict[str, Any]], data: st.DataObject) -> None:
    stream = b"".join(wire.encode(message) for message in sent)
    received, found = b"", []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received, stream = received + stream[:size], stream[size:]
        while True:
            message, received = wire.take(received)
            if message is None:
                break
            found.append(message)
    assert found == sent
    assert received == b""


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_an_error_or_not_enough(data: bytes) -> None:
    try:
        message, rest = wire.take(data)
    except wire.WireError:
        return
    assert data.endswith(rest)
    assert message is None or isinstance(message, dict)


@given(st.binary(max_size=200))
def test_any_body_is_an_object_or_an_error(body: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        assert isinstance(wire.decode(body), dict)


@given(messages, st.binary(max_size=20))
def test_reading_a_frame_takes_nothing_of_what_follows(message: dict[str, Any], following: bytes) -> None:
    stream = io.BytesIO(wire.encode(message) + following)
    assert wire.read_frame(stream) == message
    assert stream.read() == following


class OneByteAtATime(io.BytesIO):
    def read(self, limit: int | None = -1, /) -> bytes:
        return super().read(1)


def test_reading_a_frame_goes_on_after_short_reads() -> None:
    assert wire.read_frame(OneByteAtATime(wire.encode({"a": 1}))) == {"a": 1}


def test_the_end_of_the_stream_before_a_frame_is_none() -> None:
    assert wire.read_frame(io.BytesIO(b"")) is None


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_the_end_of_the_stream_inside_a_frame_is_an_error(cut: int) -> None:
    with pytest.raises(wire.WireError, match="inside a frame"):
        wire.read_frame(io.BytesIO(wire.encode({"a": 1})[:cut]))


@pytest.mark.parametrize("length", [0, wire.MAX_BODY_BYTES + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_the_body_is_read(length: int) -> None:
    with pytest.raises(wire.WireError, match="outside"):
        wire.take(length.to_bytes(4, "big"))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 21 + b"}",
        b'{"a": ' + b"9" * 900_000 + b"}",
        b"[" * 1_000_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=range(11),
)
def test_a_body_that_is_no_bounded_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.take(frame(body))


def nested(depth: int) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for _ in range(depth - 1):
        message = {"a": message}
    return message


def test_nesting_is_bounded_on_both_sides() -> None:
    assert wire.decode(json.dumps(nested(32)).encode()) == nested(32)
    with pytest.raises(wire.WireError, match="deep"):
        wire.decode(json.dumps(nested(33)).encode())
    with pytest.raises(wire.WireError, match="deep"):
        wire.encode(nested(33))


@pytest.mark.parametrize(
    "message", [{"a": float("nan")}, {"a": b""}, {"a": "x" * wire.MAX_BODY_BYTES}], ids=["nan", "bytes", "long"]
)
def test_what_is_no_frame_is_not_sent(message: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError):
        wire.encode(message)


S = "0123456789abcdef" * 2


@given(st.binary(max_size=300), messages)
def test_noise_before_the_sentinel_is_skipped(noise: bytes, message: dict[str, Any]) -> None:
    received = noise + b"\n" + S.encode() + b"\n" + wire.encode(message)
    rest = wire.after_sentinel(received, S)
    assert rest is not None
    assert wire.take(rest) == (message, b"")


def test_a_shell_that_echoes_the_command_line_does_not_count_as_the_sentinel() -> None:
    assert wire.after_sentinel(b"+ python3 agent.pyz serve --sentinel " + S.encode() + b"\n", S) is None


def test_too_much_noise_is_an_error() -> None:
    assert wire.after_sentinel(b"x" * wire.MAX_NOISE_BYTES, S) is None
    with pytest.raises(wire.WireError):
        wire.after_sentinel(b"x" * (wire.MAX_NOISE_BYTES + 1), S)
