"""From raw samples of a sensor to the energy between two moments: gaps, wraps and stale values are found, not papered over."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec

from edgeopt.domain.energy import EnergyWindow, PowerSensor, Span
from edgeopt.select.wording import number

MAX_GAP_PERIODS = 3.0
"""Samples that lie further apart than so many periods leave a gap, in which anything may have happened."""
MAX_PLAUSIBLE_W = 10_000.0
"""A counter that was set back to 0 looks like one that wrapped around, but the power would be absurd."""
GAUGE_CHANGES = 10
"""A battery gauge renews its value when it likes; with fewer new values than this in a window it did not follow the load."""
LEAST_CHANGES = 2
"""Any sensor sees the load begin and end."""


class Curve(msgspec.Struct, frozen=True):
    """Energy over time. `watts` is empty for counters, between whose values power is taken as constant.

    Attributes:
        times_ns: ascending.
        joules: accumulated since the first.
        watts: at each time.
    """

    times_ns: tuple[int, ...]
    joules: tuple[float, ...]
    watts: tuple[float, ...] = ()

    def at(self, moment_ns: int) -> float:
        """Return the energy up to a moment between the first and the last sample: exact for power that changes linearly between samples."""
        place = min(bisect_right(self.times_ns, moment_ns), len(self.times_ns) - 1) - 1
        begin, end = self.times_ns[place], self.times_ns[place + 1]
        passed_s, whole_s = (moment_ns - begin) / 1e9, (end - begin) / 1e9
        if not self.watts:
            return self.joules[place] + (self.joules[place + 1] - self.joules[place]) * passed_s / whole_s
        slope = (self.watts[place + 1] - self.watts[place]) / whole_s
        return self.joules[place] + self.watts[place] * passed_s + slope * passed_s**2 / 2

    def between(self, span: Span) -> float:
        """Return the joules of a span, clipped and interpolated at its ends."""
        return self.at(span[1]) - self.at(span[0])


class NoCurve(Exception):
    """The samples do not carry an energy; the text says why."""


def curve_of(sensor: PowerSensor, window: EnergyWindow) -> Curve:
    """Return the energy over time of the sensor's total.

    Raises:
        NoCurve: too few samples, a counter that was set back, a value that never followed the load.
    """
    places = [sensor.rails.index(rail) for rail in sensor.total]
    whole = [(at, [row[place] for place in places]) for at, row in window.samples]
    samples = _ascending([(at, [v for v in row if v is not None]) for at, row in whole if None not in row])
    if len(samples) < 2:
        raise NoCurve(f"{sensor.name} could be read only {len(samples)} times of {len(window.samples)}")
    times = tuple(at for at, _ in samples)
    if sensor.kind == "counter":
        curve = Curve(times, _unwrapped(sensor, samples))
        _check_changes(sensor, curve.joules)
        return curve
    watts = tuple(sum(row) for _, row in samples)
    _check_changes(sensor, watts)
    steps = ((a + b) / 2 * (t1 - t0) / 1e9 for (a, b), (t0, t1) in zip(pairwise(watts), pairwise(times), strict=True))
    return Curve(times, tuple(accumulate(steps, initial=0.0)), watts)


def _ascending(samples: Sequence[tuple[int, list[float]]]) -> list[tuple[int, list[float]]]:
    """Return the samples in the order of time, one for each moment."""
    return sorted(dict(samples).items())


def _check_changes(sensor: PowerSensor, values: Sequence[float]) -> None:
    changes = sum(one != other for one, other in pairwise(values))
    needed = GAUGE_CHANGES if sensor.grade == "D" else LEAST_CHANGES
    if changes < needed:
        raise NoCurve(
            f"{sensor.name} renewed its value only {changes} times within {len(values)} readings, so it did not follow the load"
        )


def _unwrapped(sensor: PowerSensor, samples: Sequence[tuple[int, list[float]]]) -> tuple[float, ...]:
    """Return joules since the first sample, with what wrapped around added."""
    total = [0.0]
    for (t0, before), (t1, after) in pairwise(samples):
        step = sum(_step(sensor, rail, a, b) for rail, a, b in zip(sensor.total, before, after, strict=True))
        if step > MAX_PLAUSIBLE_W * (t1 - t0) / 1e9:
            raise NoCurve(f"a counter of {sensor.name} was set back within the window")
        total.append(total[-1] + step)
    return tuple(total)


def _step(sensor: PowerSensor, rail: str, before: float, after: float) -> float:
    if after >= before:
        return after - before
    wrap = sensor.wrap_j.get(rail)
    if wrap is None:
        raise NoCurve(f"the counter {rail} of {sensor.name} went back, and where it wraps around is not known")
    return after - before + wrap


def check_gaps(sensor: PowerSensor, window: EnergyWindow, curve: Curve, span: Span) -> None:
    """Make sure that the samples carry the energy of a span.

    Raises:
        NoCurve: a gap in it, or at one of its ends. What a counter accumulated within a gap is not lost, so for counters only the ends count.
    """
    longest_ns = MAX_GAP_PERIODS * max(window.period_s, sensor.period_s) * 1e9
    begin, end = span
    if curve.times_ns[0] > begin or curve.times_ns[-1] < end:
        raise NoCurve(f"{sensor.name} was not read over the whole window")
    for before, after in pairwise(curve.times_ns):
        is_at_end = before <= begin < after or before < end <= after
        is_inside = before < end and after > begin
        if after - before > longest_ns and (is_at_end or (is_inside and sensor.kind == "sample")):
            raise NoCurve(
                f"{sensor.name} could not be read for {number((after - before) / 1e9)} s within the window, more than {MAX_GAP_PERIODS:.0f} times its period"
            )
