"""Energy per inference from raw windows, with its uncertainty. Depends on the run alone.

In a window of T seconds and N inferences, with E_load joules by the sensor and the rest power P_idle, the mean of the two idle times:

    gross = E_load / N                      net = (E_load - P_idle * T) / N

The candidate's level is the Hodges-Lehmann estimate of its windows. The 95 % interval adds in quadrature the scatter of the windows (the exact signed-rank interval from six
on, before that Student's) and twice the standard uncertainty of what all windows share: gain g * E, the offset o * T / N (gross only: it is in the load and at rest
alike, so it cancels in net), and the drift of the rest power |P1 - P2| * T / 2N (net only). In ratios on one board gain and offset cancel (JCGM 100:2008, section 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from edgeopt.domain.energy import BoardEstimate, Energy, EnergyWindow, Figure, PowerSensor
from edgeopt.domain.run import Candidate, Run
from edgeopt.select.blocks import EXCLUDING, ORIGINAL, original_of
from edgeopt.select.power_curve import NoCurve, check_gaps, curve_of
from edgeopt.select.statistics import MIN_FOR_INTERVAL, hodges_lehmann
from edgeopt.select.student import t_quantile
from edgeopt.select.wording import number, percent

COVERAGE_FACTOR = 2.0
"""From a standard uncertainty to 95 %."""
ALIKE = 0.02
"""Load powers closer than this are the same power."""
DROP_RATIO = 1.5


class Reckoned(msgspec.Struct, frozen=True, kw_only=True):
    """A window's sums. Energies in mJ per inference, power in watts; `drift_mj` is the standard uncertainty of `net_mj` by the drift of the rest power."""

    round: int
    net_mj: float
    gross_mj: float
    drift_mj: float
    seconds_per_inference: float
    idle_w: float
    load_w: float


def reckon(sensor: PowerSensor, window: EnergyWindow, *, accept_disturbed: bool = False) -> Reckoned:
    """Return the sums of a window.

    Raises:
        NoCurve: it has none; the text says why.
    """
    if window.failure is not None:
        raise NoCurve(window.failure)
    disturbed = sorted(EXCLUDING.intersection(window.flags))
    if disturbed and not accept_disturbed:
        raise NoCurve(f"the window was disturbed: {', '.join(disturbed)}")
    curve = curve_of(sensor, window)
    spans = (window.idle_before_ns, window.load_ns, window.idle_after_ns)
    for span in spans:
        check_gaps(sensor, window, curve, span)
    before_w, load_w, after_w = (curve.between(span) / _seconds(span) for span in spans)
    seconds = _seconds(window.load_ns) / window.inferences
    idle_w = (before_w + after_w) / 2
    # The ends of the load may be off by as much as the clocks of two machines differ.
    slip_mj = abs(load_w - idle_w) * window.clock_error_ns / 1e6 / window.inferences
    return Reckoned(
        round=window.round,
        net_mj=(load_w - idle_w) * seconds * 1e3,
        gross_mj=load_w * seconds * 1e3,
        drift_mj=math.hypot(abs(before_w - after_w) / 2 * seconds * 1e3, slip_mj),
        seconds_per_inference=seconds,
        idle_w=idle_w,
        load_w=load_w,
    )


def _seconds(span: tuple[int, int]) -> float:
    if span[1] <= span[0]:
        raise NoCurve("an idle time or the load has no length")
    return (span[1] - span[0]) / 1e9


def energy_of(run: Run, candidate: Candidate) -> tuple[Energy | None, str]:
    """Return what the windows say of a candidate; None with the reason."""
    sensor = run.energy_sensor
    if sensor is None:
        return None, run.energy_reason
    good, wrong = _reckoned(run, sensor, candidate.id)
    if not good:
        return None, f"no window was valid: {wrong[-1]}" if wrong else "its energy was not measured"
    net, gross = _net(sensor, good), _gross(sensor, good)
    ratio, why = _ratio(run, sensor, candidate, good)
    reasons = {"ratio": why} if why is not None else {}
    if wrong:
        reasons["invalid"] = wrong[-1]
    if net.low is None:
        reasons["net_mj"] = "one window alone does not tell how much they scatter"
    energy = Energy(
        sensor=sensor.name,
        grade=sensor.grade,
        covers=sensor.total_rule,
        windows=len(good),
        invalid=len(wrong),
        net_mj=net,
        gross_mj=gross,
        idle_w=_mean([one.idle_w for one in good]),
        load_w=_mean([one.load_w for one in good]),
        ratio=ratio,
        board_net_mj=None if sensor.estimate is None else _board(sensor.estimate, net),
        reasons=reasons,
    )
    return energy, ""


def ranked_mj(energy: Energy) -> tuple[float | None, str]:
    """Return the energy by which candidates are ranked, the net one: a board that stays on pays for its rest whichever model runs. None with the reason."""
    if energy.grade == "M":
        return None, f"{energy.sensor} is a model of the power and no measurement, so it ranks nothing"
    if energy.net_mj.value <= 0:
        return None, f"{energy.sensor} cannot tell the load from rest"
    return energy.net_mj.value, ""


def _reckoned(run: Run, sensor: PowerSensor, candidate: str) -> tuple[list[Reckoned], list[str]]:
    good: list[Reckoned] = []
    wrong: list[str] = []
    for window in run.energy_windows:
        if window.candidate != candidate:
            continue
        try:
            good.append(reckon(sensor, window, accept_disturbed=run.plan.accept_disturbed))
        except NoCurve as no_curve:
            wrong.append(str(no_curve))
    return good, wrong


def _net(sensor: PowerSensor, windows: Sequence[Reckoned]) -> Figure:
    level = hodges_lehmann([one.net_mj for one in windows])[0]
    shared = math.hypot(sensor.gain * level, _mean([one.drift_mj for one in windows]))
    return _figure([one.net_mj for one in windows], shared)


def _gross(sensor: PowerSensor, windows: Sequence[Reckoned]) -> Figure:
    level = hodges_lehmann([one.gross_mj for one in windows])[0]
    offset = sensor.offset_w * _mean([one.seconds_per_inference for one in windows]) * 1e3
    return _figure([one.gross_mj for one in windows], math.hypot(sensor.gain * level, offset))


def _figure(values: Sequence[float], shared: float) -> Figure:
    """Return the level of the values; `shared` is the standard uncertainty that all of them have in common."""
    level, low, high = _scatter(values)
    if low is None or high is None:
        return Figure(value=level, low=None, high=None)
    return Figure(
        value=level,
        low=level - math.hypot(level - low, COVERAGE_FACTOR * shared),
        high=level + math.hypot(high - level, COVERAGE_FACTOR * shared),
    )


def _scatter(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the Hodges-Lehmann level and its 95 % interval by scatter alone."""
    level, low, high = hodges_lehmann(values)
    count = len(values)
    if count == 1 or count >= MIN_FOR_INTERVAL:
        return level, low, high
    mean = _mean(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = t_quantile(0.975, count - 1) * deviation / math.sqrt(count)
    return level, level - half, level + half


def _ratio(
    run: Run, sensor: PowerSensor, candidate: Candidate, windows: Sequence[Reckoned]
) -> tuple[Figure | None, str | None]:
    original = original_of(run, candidate)
    if original is None:
        return None, "the original was not measured with as many threads"
    if original.id == candidate.id:
        return Figure(value=1.0, low=1.0, high=1.0), None
    theirs = {one.round: one for one in _reckoned(run, sensor, original.id)[0]}
    pairs = [(one, theirs[one.round]) for one in windows if one.round in theirs]
    if not pairs:
        return None, "there is no round in which both its window and the original's were valid"
    if any(mine.net_mj <= 0 or other.net_mj <= 0 for mine, other in pairs):
        return None, f"{sensor.name} cannot tell the load from rest"
    logs = [math.log(mine.net_mj / other.net_mj) for mine, other in pairs]
    drift = _mean([math.hypot(mine.drift_mj / mine.net_mj, other.drift_mj / other.net_mj) for mine, other in pairs])
    found = _figure(logs, drift)
    if found.low is None or found.high is None:
        return Figure(value=math.exp(found.value), low=None, high=None), None
    return Figure(value=math.exp(found.value), low=math.exp(found.low), high=math.exp(found.high)), None


def _board(estimate: BoardEstimate, net: Figure) -> Figure:
    """Scale to the whole board; the regression's offset is there at rest, too."""
    value = estimate.scale * net.value
    if net.low is None or net.high is None:
        return Figure(value=value, low=None, high=None)
    shared = COVERAGE_FACTOR * estimate.gain * value
    return Figure(
        value=value,
        low=value - math.hypot(value - estimate.scale * net.low, shared),
        high=value + math.hypot(estimate.scale * net.high - value, shared),
    )


def constant_power(energies: Sequence[Energy]) -> str | None:
    """Say so when the board drew the same power whatever ran: then energy only repeats what latency says. None when it did not, or for one candidate."""
    loads = [energy.load_w for energy in energies]
    if len(loads) < 2 or max(loads) > min(loads) * (1 + ALIKE):
        return None
    return (
        f"the board drew the same power under every candidate, {number(_mean(loads))} W within {percent(max(loads) / min(loads) - 1)}, "
        "so the energies are in the ratio of the latencies and add no information"
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def not_worth_more(sensor: PowerSensor) -> Callable[[Sequence[EnergyWindow], Sequence[Candidate]], tuple[str, ...]]:
    """Return the rule that ends a candidate's windows early: in each of its valid windows it needed more than DROP_RATIO times the least of that round.

    One window averages over many inferences, and a factor of this size is beyond every sensor's error. The original is kept, for all are compared with it.
    """

    def losers(windows: Sequence[EnergyWindow], candidates: Sequence[Candidate]) -> tuple[str, ...]:
        levels: dict[str, dict[int, float]] = {candidate.id: {} for candidate in candidates}
        for window in windows:
            try:
                levels.get(window.candidate, {})[window.round] = reckon(sensor, window).net_mj
            except NoCurve:
                continue
        best = {
            number: min(found[number] for found in levels.values() if number in found)
            for number in {number for found in levels.values() for number in found}
        }
        kept = {candidate.id for candidate in candidates if candidate.variant == ORIGINAL}
        return tuple(
            name
            for name, found in levels.items()
            if name not in kept and found and all(level > DROP_RATIO * best[n] > 0 for n, level in found.items())
        )

    return losers
