"""Energy windows whose true power is a known function of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgeopt.domain.energy import EnergyWindow, PowerSensor
from edgeopt.domain.run import Run
from tests.builders import make_run

SENSOR = PowerSensor(
    name="ina3221",
    grade="B",
    kind="sample",
    rails=("VDD_IN", "VDD_SOC"),
    total=("VDD_IN",),
    total_rule="the VDD_IN rail, the whole input of the module",
    period_s=0.1,
    gain=0.0,
    offset_w=0.0,
    source="here",
)
COUNTER = msgspec.structs.replace(SENSOR, name="rapl", grade="C", kind="counter", wrap_j={"VDD_IN": 100.0})

IDLE_BEFORE, LOAD, IDLE_AFTER = (1.0, 6.0), (7.0, 17.0), (18.0, 23.0)
"""Seconds."""

Power = Callable[[float], float]


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def step(idle_w: float, load_w: float, *, ripple_w: float = 0.01) -> Power:
    """Power that is `load_w` from 6.5 s to 17.5 s, with a ripple that averages out, so that no value is stale."""

    def watts(at: float) -> float:
        return (load_w if 6.5 <= at < 17.5 else idle_w) + ripple_w * (1 if round(at * 10) % 2 else -1)

    return watts


def window(
    power: Power,
    *,
    candidate: str = "original@all",
    round_: int = 0,
    inferences: int = 100,
    period_s: float = 0.1,
    sensor: PowerSensor = SENSOR,
    gap: tuple[float, float] = (0.0, 0.0),
    **changes: Any,
) -> EnergyWindow:
    """Return a window of 24 s; between the ends of `gap` the sensor could not be read."""
    moments = [k * period_s for k in range(int(24 / period_s) + 1)]
    joules, samples = 0.0, []
    for before, at in zip([0.0, *moments], moments, strict=False):
        joules += power((before + at) / 2) * (at - before)
        value = power(at) if sensor.kind == "sample" else (90.0 + joules) % sensor.wrap_j.get("VDD_IN", 1e12)
        is_lost = gap[0] < at < gap[1]
        samples.append((ns(at), (None if is_lost else value, 1.0)))
    made = EnergyWindow(
        candidate=candidate,
        round=round_,
        position=0,
        inferences=inferences,
        idle_before_ns=(ns(IDLE_BEFORE[0]), ns(IDLE_BEFORE[1])),
        load_ns=(ns(LOAD[0]), ns(LOAD[1])),
        idle_after_ns=(ns(IDLE_AFTER[0]), ns(IDLE_AFTER[1])),
        period_s=period_s,
        samples=tuple(samples),
    )
    return msgspec.structs.replace(made, **changes)


def powered_run(*windows: EnergyWindow, sensor: PowerSensor | None = SENSOR, **levels: float) -> Run:
    run = make_run({name: [level] * 8 for name, level in (levels or {"original": 10.0, "fast": 5.0}).items()})
    return msgspec.structs.replace(run, energy_sensor=sensor, energy_windows=windows, energy_reason="")
