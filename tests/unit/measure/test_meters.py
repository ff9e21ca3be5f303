"""Meters in the mains, played by a real server on this machine that speaks their protocols (written from the makers' documentation)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.observer import Silent
from edgeopt.domain.run import MeasurePlan
from edgeopt.errors import ConfigError, MeterError
from edgeopt.measure import meters
from edgeopt.measure.energy import measure_energy
from edgeopt.measure.meter_replies import shelly_gen1_watts, shelly_gen2_watts, shelly_generation, tasmota_watts
from edgeopt.measure.meters import MeterAddress, clock_offset_ns, open_meter, parse_meter
from edgeopt.measure.rounds import Bench
from tests.builders import make_candidate

GEN1 = {
    "/shelly": {"type": "SHPLG-S", "mac": "5ECF7F1632E8", "auth": False, "fw": "20230913-113421/v1.14.0"},
    "/meter/0": {"power": 7.31, "overpower": 0.0, "is_valid": True, "timestamp": 1606146473, "total": 123},
}
GEN2 = {
    "/shelly": {
        "name": None,
        "id": "shellyplusplugs-7c87ce7256bc",
        "model": "SNPL-00112EU",
        "gen": 2,
        "auth_en": False,
    },
    "/rpc/Switch.GetStatus?id=0": {"id": 0, "output": True, "apower": 8.9, "voltage": 237.5, "aenergy": {"total": 6.5}},
}
TASMOTA = {"/cm?cmnd=Status%208": {"StatusSNS": {"Time": "2026-01-01T00:00:00", "ENERGY": {"Total": 1.2, "Power": 12}}}}

Serve = Callable[..., MeterAddress]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that answers these paths; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(kind: str, pages: dict[str, Any], *, status: int = 200, channel: int = 0) -> MeterAddress:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                body = page if isinstance(page, bytes) else json.dumps(page).encode()
                self.send_response(404 if page is None else status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return MeterAddress(kind=kind, host="127.0.0.1", port=server.server_address[1], channel=channel)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestDialects:
    @pytest.mark.parametrize(
        ("kind", "pages", "name", "watts"),
        [
            ("shelly", GEN1, "shelly (generation 1)", 7.31),
            ("shelly", GEN2, "shelly (generation 2)", 8.9),
            ("tasmota", TASMOTA, "tasmota", 12.0),
        ],
    )
    def test_each_is_found_and_read(self, serve: Serve, kind: str, pages: Any, name: str, watts: float) -> None:
        meter = open_meter(serve(kind, pages))
        assert meter.sensor.name == name
        assert meter.sensor.grade == "E"
        assert meter.read() == {"mains": watts}

    def test_another_channel_is_asked_for(self, serve: Serve) -> None:
        pages = {**GEN2, "/rpc/Switch.GetStatus?id=1": {"id": 1, "apower": 3.5}}
        assert open_meter(serve("shelly", pages, channel=1)).read() == {"mains": 3.5}

    def test_a_meter_that_falls_silent_or_is_not_ready_is_a_gap(self, serve: Serve) -> None:
        pages = dict(GEN1)
        meter = open_meter(serve("shelly", pages))
        pages["/meter/0"] = {"power": 0.0, "is_valid": False}
        assert meter.read() == {}
        del pages["/meter/0"]
        assert meter.read() == {}


class TestRefusals:
    def test_a_plug_without_a_meter(self, serve: Serve) -> None:
        pages = {**GEN2, "/rpc/Switch.GetStatus?id=0": {"id": 0, "output": True}}
        with pytest.raises(MeterError, match="tells no power on channel 0"):
            open_meter(serve("shelly", pages))

    def test_something_that_is_no_shelly(self, serve: Serve) -> None:
        with pytest.raises(MeterError, match="is not a Shelly"):
            open_meter(serve("shelly", {"/shelly": {"hello": "world"}}))

    @pytest.mark.parametrize("body", [b"<html>", b"[1]", b"[" * 30_000])
    def test_something_that_is_no_meter(self, serve: Serve, body: bytes) -> None:
        with pytest.raises(MeterError, match="is not a meter"):
            open_meter(serve("shelly", {"/shelly": body}))

    def test_a_password_is_wanted(self, serve: Serve) -> None:
        with pytest.raises(MeterError, match="asks for a password"):
            open_meter(serve("shelly", GEN2, status=401))

    def test_an_endless_answer_is_cut(self, serve: Serve) -> None:
        with pytest.raises(MeterError, match="65537 bytes"):
            open_meter(serve("tasmota", {"/cm?cmnd=Status%208": b" " * 1_000_000}))

    def test_nobody_is_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(MeterError, match="does not answer") as caught:
            open_meter(MeterAddress(kind="tasmota", host="127.0.0.1", port=port))
        assert "same network" in (caught.value.hint or "")

    def test_one_that_sends_a_byte_at_a_time_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(meters, "_DEADLINE_S", 0.2)
        gone = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:

            def drip() -> None:
                peer, _ = server.accept()
                with peer:
                    try:
                        while not gone.wait(0.02):
                            peer.sendall(b"H")
                    except OSError:
                        return

            thread = threading.Thread(target=drip)
            thread.start()
            with pytest.raises(MeterError, match="does not answer"):
                open_meter(MeterAddress(kind="tasmota", host="127.0.0.1", port=server.getsockname()[1]))
            gone.set()
            thread.join()


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("shelly://192.168.1.20", MeterAddress(kind="shelly", host="192.168.1.20")),
            ("tasmota://plug.local:8080/1", MeterAddress(kind="tasmota", host="plug.local", port=8080, channel=1)),
            ("shelly://[fe80::1]/", MeterAddress(kind="shelly", host="fe80::1")),
        ],
    )
    def test_host_port_and_channel(self, text: str, address: MeterAddress) -> None:
        assert parse_meter(text) == address

    @pytest.mark.parametrize(
        "text", ["", "192.168.1.20", "http://x", "shelly://", "shelly://x/y", "shelly://x?y=1", "shelly://x:99999"]
    )
    def test_anything_else_is_refused_with_what_is_allowed(self, text: str) -> None:
        with pytest.raises(ConfigError, match="allowed: shelly://HOST"):
            parse_meter(text)

    def test_a_password_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_meter("shelly://admin:hunter2@192.168.1.20")
        assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["power", "apower", "StatusSNS", "ENERGY", "Power", "gen", "is_valid"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


class TestReplies:
    @given(reply=st.dictionaries(st.sampled_from(["power", "apower", "StatusSNS", "gen", "type", "mac"]), JSON))
    def test_whatever_a_plug_sends_is_a_power_or_nothing(self, reply: dict[str, Any]) -> None:
        for watts in (shelly_gen1_watts(reply), shelly_gen2_watts(reply), tasmota_watts(reply, 0)):
            assert watts is None or isinstance(watts, float)
        assert shelly_generation(reply) is None or isinstance(shelly_generation(reply), int)

    def test_meters_of_several_channels(self) -> None:
        reply = {"StatusSNS": {"ENERGY": {"Power": [5, 7.5]}}}
        assert [tasmota_watts(reply, channel) for channel in (0, 1, 2)] == [5.0, 7.5, None]
        assert tasmota_watts({"StatusSNS": {"ENERGY": {"Power": 5}}}, 1) is None

    def test_a_password_that_tasmota_wants_is_no_power(self) -> None:
        assert tasmota_watts({"WARNING": "Need user=<username>&password=<password>"}, 0) is None

    def test_an_error_of_a_switch_is_no_power(self) -> None:
        assert shelly_gen2_watts({"apower": 1.0, "errors": ["power_meter:failure"]}) is None


class Agent:
    """Its clock is an hour ahead."""

    device = type("Named", (), {"name": "bench"})

    def __init__(self) -> None:
        self.sensors: list[object] = []

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        import time

        now = time.monotonic_ns() + HOUR_NS
        if verb == "sample":
            return {"conditions": [{"monotonic_ns": now}]}
        self.sensors.append(args["sensor"])
        spans = {"idle_before_ns": (now, now), "load_window_ns": (now, now), "idle_after_ns": (now, now)}
        return {"status": "ok", "inferences": 50, "flags": [], **spans}


HOUR_NS = 3600 * 10**9


def test_the_offset_of_two_clocks_is_known_to_half_a_round_trip() -> None:
    offset, error = clock_offset_ns(Agent())  # type: ignore[arg-type]
    assert abs(offset - HOUR_NS) <= error


def test_the_meters_samples_are_on_the_devices_clock(serve: Serve) -> None:
    meter = open_meter(serve("shelly", GEN2))
    agent = Agent()
    bench = Bench(agent, MeasurePlan(energy_rounds=1), models={"a": "a"}, inputs="/x.npz", sites={"onnxruntime": None})  # type: ignore[arg-type]
    (window,) = measure_energy(
        bench,
        [make_candidate("a")],
        meter.sensor,
        order=lambda ids, _seed, _number: ids,
        drop=lambda _windows, _candidates: (),
        observer=Silent(),
        meter=meter,
    )
    assert agent.sensors == [None]
    assert window.samples[0][1] == (8.9,)
    assert window.samples[0][0] <= window.load_ns[0] + window.clock_error_ns
    assert window.samples[-1][0] >= window.load_ns[1] - window.clock_error_ns
    assert window.clock_error_ns >= 10**9
