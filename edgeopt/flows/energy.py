"""Is energy measured, by what, and of whom."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeopt.domain.device import Profile
from edgeopt.domain.energy import EnergyWindow, PowerSensor
from edgeopt.domain.goal import Goal
from edgeopt.domain.observer import Observer
from edgeopt.domain.run import Candidate, MeasurePlan
from edgeopt.errors import MeterError
from edgeopt.flows.prepare import Job
from edgeopt.flows.trial import Trial
from edgeopt.measure.energy import measure_energy
from edgeopt.measure.meters import Meter, open_meter, parse_meter
from edgeopt.measure.rounds import Measured
from edgeopt.select.energy import not_worth_more
from edgeopt.select.rounds import estimate_energy_seconds, round_order


class Sensed(msgspec.Struct, frozen=True, kw_only=True):
    """Energy windows and the sensor that saw them; or none, and why."""

    sensor: PowerSensor | None = None
    windows: tuple[EnergyWindow, ...] = ()
    reason: str = ""


def wants_energy(plan: MeasurePlan, goal: Goal) -> bool:
    """Tell whether energy is to be measured where it can be: it was asked for, or it is what the goal makes small."""
    return goal.asks_for_energy if plan.energy == "auto" else plan.energy


def sensors_of(facts: dict[str, Any]) -> tuple[PowerSensor, ...]:
    """Return the sensors that the agent found, the best first."""
    found = (facts.get("sensors") or {}).get("power") or ()
    return tuple(msgspec.convert(sensor, PowerSensor) for sensor in found)


def meter_of(job: Job) -> Meter | None:
    """Return the device's meter, when energy is wanted and it has one. It is the user's word, so it goes before sensors of the board.

    Raises:
        ConfigError: its address is wrong.
        MeterError: it does not answer.
    """
    if job.device.meter is None or not wants_energy(job.plan, job.goal):
        return None
    return open_meter(parse_meter(job.device.meter))


def sense(trial: Trial, measured: Measured, observer: Observer) -> Sensed:
    """Measure the energy of every candidate whose blocks were in order.

    Raises:
        AgentLost, LinkLost, LinkTimeout: the conversation ended.
    """
    job = trial.job
    sensors = sensors_of(trial.facts)
    if not wants_energy(job.plan, job.goal):
        return Sensed(reason=_not_asked(job.plan, sensors))
    try:
        meter = meter_of(job)
    except MeterError as error:
        # It answered before the rounds; what was measured since is not thrown away.
        return Sensed(reason=error.message)
    if meter is not None:
        sensors = (meter.sensor,)
    if not sensors:
        return Sensed(reason=why_no_sensor(trial.facts, job.profile))
    candidates = [candidate for candidate in trial.candidates if _is_in_order(candidate, measured)]
    windows = measure_energy(
        trial.bench,
        candidates,
        sensors[0],
        order=round_order,
        drop=not_worth_more(sensors[0]),
        observer=observer,
        meter=meter,
    )
    return Sensed(sensor=sensors[0], windows=windows)


def _is_in_order(candidate: Candidate, measured: Measured) -> bool:
    blocks = [block for block in measured.blocks if block.candidate == candidate.id]
    return candidate.id not in measured.dropped and bool(blocks) and all(block.failure is None for block in blocks)


def _not_asked(plan: MeasurePlan, sensors: tuple[PowerSensor, ...]) -> str:
    if plan.energy is False:
        return "it was switched off"
    if not sensors:
        return "it was not asked for, and the device shows no power sensor"
    seconds = estimate_energy_seconds(plan, 1)
    return f"it was not asked for; --energy measures it by {sensors[0].name} (class {sensors[0].grade}) in about {seconds:.0f} s for each candidate"


def why_no_sensor(facts: dict[str, Any], profile: Profile) -> str:
    """Return the sentence for a device whose power nothing reads."""
    found = (facts.get("sensors") or {}).get("power_reason")
    return str(found or profile.power_reason or "the agent found no power sensor")
