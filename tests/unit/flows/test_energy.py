"""Is energy measured, by what, and of whom; and the sentence when it is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edgeopt.domain.device import Device
from edgeopt.domain.goal import Goal
from edgeopt.domain.observer import Silent
from edgeopt.domain.run import MeasurePlan
from edgeopt.errors import MeterError
from edgeopt.flows import energy
from edgeopt.flows.energy import meter_of, sense, sensors_of, wants_energy
from edgeopt.measure.meters import Meter
from edgeopt.measure.rounds import Measured
from edgeopt.profiles.load import load_profile
from tests.builders import make_block, make_candidate, make_failure
from tests.unit.select.powered import SENSOR, window

FOUND = {"sensors": {"power": [msgspec.to_builtins(SENSOR)]}}
NONE = {"sensors": {"power": None, "power_reason": "RAPL: Permission denied; sudo chmod"}}


def make_device(meter: str | None) -> Device:
    return Device(name="kitchen", profile="pi4", address="local:", meter=meter)


def trial(
    facts: dict[str, Any], *, objective: str = "latency", profile: str = "pi4", meter: str | None = None, **plan: Any
) -> Any:
    goal = msgspec.convert({"objective": objective}, Goal)
    job = SimpleNamespace(plan=MeasurePlan(**plan), goal=goal, profile=load_profile(profile), device=make_device(meter))
    candidates = [make_candidate(name) for name in ("original", "fast", "broken", "slow")]
    return SimpleNamespace(job=job, facts=facts, candidates=candidates, bench=None)


MEASURED = Measured(
    blocks=(
        make_block("original@all"),
        make_block("fast@all"),
        make_block("broken@all", failure=make_failure()),
        make_block("slow@all"),
    ),
    dropped={"slow@all": "too slow"},
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who is measured, in place of measuring."""
    names: list[str] = []

    def measure(_bench: Any, candidates: Any, _sensor: Any, **_: Any) -> Any:
        names.extend(candidate.id for candidate in candidates)
        return (window(lambda _: 1.0),)

    monkeypatch.setattr(energy, "measure_energy", measure)
    return names


@pytest.mark.parametrize(
    ("plan", "objective", "wanted"),
    [("auto", "latency", False), ("auto", "energy", True), (True, "latency", True), (False, "energy", False)],
)
def test_it_is_measured_when_asked_for_or_when_it_is_the_goal(plan: Any, objective: Any, *, wanted: bool) -> None:
    assert wants_energy(MeasurePlan(energy=plan), Goal(objective=objective)) is wanted


def test_candidates_whose_blocks_were_in_order_are_measured_by_the_best_sensor(asked: list[str]) -> None:
    sensed = sense(trial(FOUND, energy=True), MEASURED, Silent())
    assert asked == ["original@all", "fast@all"]
    assert (sensed.sensor, len(sensed.windows), sensed.reason) == (SENSOR, 1, "")
    assert sensors_of(FOUND) == (SENSOR,)


def test_not_asked_for_says_what_it_would_take(asked: list[str]) -> None:
    reason = sense(trial(FOUND), MEASURED, Silent()).reason
    assert "--energy measures it by ina3221 (class B) in about 64 s for each candidate" in reason
    assert "shows no power sensor" in sense(trial(NONE), MEASURED, Silent()).reason
    assert sense(trial(FOUND, energy=False), MEASURED, Silent()).reason == "it was switched off"
    assert asked == []


def test_no_sensor_says_what_the_agent_found_or_else_what_the_profile_knows(asked: list[str]) -> None:
    assert sense(trial(NONE, energy=True), MEASURED, Silent()).reason == "RAPL: Permission denied; sudo chmod"
    assert "a Raspberry Pi 4 has no current sensor" in sense(trial({}, energy=True), MEASURED, Silent()).reason
    unknown = sense(trial({}, energy=True, profile="pi5"), MEASURED, Silent()).reason
    assert unknown == "the agent found no power sensor"
    assert asked == []


def test_a_meter_that_fell_silent_since_is_the_reason_and_nothing_is_lost(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: Any) -> Any:
        raise MeterError("the meter at plug does not answer")

    monkeypatch.setattr(energy, "open_meter", silent)
    sensed = sense(trial(FOUND, energy=True, meter="shelly://plug"), MEASURED, Silent())
    assert sensed.reason == "the meter at plug does not answer"
    assert asked == []


def test_the_users_meter_goes_before_the_boards_sensor(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plug = msgspec.structs.replace(SENSOR, name="shelly", grade="E")
    monkeypatch.setattr(energy, "open_meter", lambda _: Meter(sensor=plug, read=dict))
    assert sense(trial(FOUND, energy=True, meter="shelly://plug"), MEASURED, Silent()).sensor == plug
    assert meter_of(trial(FOUND, meter="shelly://plug").job) is None
    assert asked == ["original@all", "fast@all"]
