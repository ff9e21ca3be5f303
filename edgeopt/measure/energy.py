"""Energy windows: the agent rests, works and rests again; the power is read by the agent, or by this computer from a meter of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edgeopt.domain.energy import EnergyWindow, PowerSensor
from edgeopt.domain.observer import Observer
from edgeopt.domain.run import Candidate
from edgeopt.measure.meters import Meter, clock_offset_ns
from edgeopt.measure.rounds import Bench, Order
from edgeopt_agent.sampler import Sampler

Drop = Callable[[Sequence[EnergyWindow], Sequence[Candidate]], Sequence[str]]
"""(windows so far, candidates) -> ids of those not worth more windows."""

_LONGEST = 20.0
"""A window's load ends at so many times its planned length, whatever the number of its inferences."""
_WARMUP_S = 1.0
_SPARE_S = 60.0


def measure_energy(
    bench: Bench,
    candidates: Sequence[Candidate],
    sensor: PowerSensor,
    *,
    order: Order,
    drop: Drop,
    observer: Observer,
    meter: Meter | None = None,
) -> tuple[EnergyWindow, ...]:
    """Measure every candidate once a round, in random order; returns the windows in the order in which they were taken.

    Args:
        bench: what stays the same.
        candidates: whose blocks were in order.
        sensor: of the device, as its agent describes it; or the meter's.
        order: of a round.
        drop: told of all windows after each round, says who needs no more.
        observer: told of the stages.
        meter: read here instead of a sensor on the device.

    Raises:
        AgentLost, LinkLost, LinkTimeout: the conversation ended.
    """
    plan = bench.plan
    by_id = {candidate.id: candidate for candidate in candidates}
    alive = set(by_id)
    windows: list[EnergyWindow] = []
    observer.stage(
        "energy",
        f"measure energy on {bench.session.device.name} by {sensor.name}",
        float(plan.energy_rounds * len(by_id)),
    )
    for number in range(plan.energy_rounds):
        for position, name in enumerate(order(sorted(alive), plan.seed, number)):
            told = f"round {number + 1} of {plan.energy_rounds}: {name}"
            observer.advance("energy", float(number * len(by_id) + position), told)
            reply = _measure(bench, by_id[name], sensor, meter)
            windows.append(window_from_reply(reply, candidate=name, number=number, position=position))
        alive -= {window.candidate for window in windows if window.failure is not None}
        alive -= set(drop(windows, [by_id[name] for name in sorted(alive)]))
        if not alive:
            break
    observer.finish("energy")
    return tuple(windows)


def _measure(bench: Bench, candidate: Candidate, sensor: PowerSensor, meter: Meter | None) -> dict[str, Any]:
    """Return the agent's answer for one window; with the samples of the meter, on the device's clock, where there is one."""
    if meter is None:
        return _ask(bench, candidate, sensor, sensor.name)
    offset_ns, error_ns = clock_offset_ns(bench.session)
    with Sampler(meter.read, list(sensor.rails), sensor.period_s) as sampler:
        reply = _ask(bench, candidate, sensor, None)
    samples = [(at + offset_ns, row) for at, row in sampler.samples]
    # A plug's value is up to one period old.
    late_ns = round(sensor.period_s * 1e9)
    return reply | {"samples": samples, "period_s": sensor.period_s, "clock_error_ns": error_ns + late_ns}


def _ask(bench: Bench, candidate: Candidate, sensor: PowerSensor, name: str | None) -> dict[str, Any]:
    plan = bench.plan
    idle_s, load_s = sensor.least_times(plan.energy_idle_s, plan.energy_load_s)
    longest_s = _LONGEST * load_s
    limit_s = plan.block_timeout_s + longest_s
    job = bench.job(candidate, "energy") | {
        "sensor": name,
        "idle_s": idle_s,
        "min_s": load_s,
        "min_inferences": plan.energy_min_inferences,
        "max_s": longest_s,
        "warmup_min_s": _WARMUP_S,
        "timeout_s": limit_s,
    }
    return bench.session.call("block", job, timeout_s=limit_s + 2 * idle_s + _SPARE_S)


def window_from_reply(reply: dict[str, Any], *, candidate: str, number: int, position: int) -> EnergyWindow:
    """Turn the agent's answer into a record."""
    named = {"candidate": candidate, "round": number, "position": position, "flags": reply.get("flags", ())}
    if reply.get("status") != "ok":
        failure = reply["failure"]
        return msgspec.convert(named | {"failure": f"{failure['kind']}: {failure['detail']}"}, EnergyWindow)
    told = ("inferences", "idle_before_ns", "idle_after_ns", "period_s", "samples", "clock_error_ns")
    known = {name: reply[name] for name in told if name in reply}
    return msgspec.convert(named | known | {"load_ns": reply["load_window_ns"]}, EnergyWindow)
