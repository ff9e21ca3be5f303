"""Whether a series of latencies is steady, and how much of its beginning is warm-up. Pure rules over numbers; nothing here reads a clock.

1. Did the board become slower? Warm-up makes later inferences faster; a step or a trend upwards is a board that slows down, wherever in the block it happens. Every place of
   a step is tried (twelve slices would hide one near the end); it counts when it is large both in per cent and against the noise around it.
2. Where does warm-up end? MSER-5 (White 1997, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69): of all beginnings up to half of the
   series, leave out the one that makes the variance of the remaining mean smallest.
3. Does the rest still move, or fall nearly as fast as the whole did (then warm-up takes longer than the series)? Mann-Kendall says whether there is a trend (Mann 1945, Econometrica 13; Kendall 1975, "Rank Correlation Methods"), Theil-Sen how large it is
   (Sen 1968, JASA 63), both over medians of twelve equal slices. Mann-Kendall alone would find trends of no interest in a long series, a slope alone in a noisy one.

The limits were tried on simulated series (`tests/agent/test_steady.py`): flat, warm-up and early-step series pass, ramps and throttling do not.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_COUNT = 24
"""Fewer inferences than this cannot be judged: half of them may be warm-up, the rest must fill twelve slices."""
_MIN_TURNS = 4
"""Inputs of several sizes must have come so many times."""
_MSER_BATCH = 5
_MIN_BATCHES = 24
_MAX_BATCHES = 120
_MAX_OF_BATCH = 51
"""Of a longer batch its beginning stands for all of it, so that judging a million inferences takes milliseconds."""
_SLICES = 12
_TREND_Z = 2.576
"""Two-sided 1 % of the normal distribution. Twelve slices in order reach 4.46."""
_TREND_CHANGE = 0.02
_SETTLING, _SETTLING_Z = 0.4, 1.645
"""An exponential warm-up whose end has come is flat; one as long as the series has a third of its slope left in the second half, a longer one more. One-sided 5 % of the normal distribution, since the whole moves for sure already."""
_STEP_CHANGE = 0.05
_STEP_NOISES = 4.0
_MIN_SEGMENT = 3
"""Batches on either side of a step. Fewer are a stall, which a median bears."""
_MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation of a normal distribution."""


class Judgement:
    """What was found.

    Attributes:
        is_steady: None when the series is too short to tell.
        reason: why it is not steady, or cannot be told; None when it is steady.
        cut: how many inferences at the beginning are warm-up.
        is_final: more inferences would not change the answer: the board already became slower within this series.
    """

    __slots__ = ("cut", "is_final", "is_steady", "reason")

    def __init__(self, is_steady: bool | None, reason: str | None, cut: int = 0, *, is_final: bool = False) -> None:
        self.is_steady = is_steady
        self.reason = reason
        self.cut = cut
        self.is_final = is_final


def judge(series: Sequence[int], period: int = 1) -> Judgement:
    """Judge latencies in the order in which they were measured (any unit, all positive).

    Args:
        series: the latencies.
        period: after so many inferences the inputs come again; 1 when all inputs are of one size. Each latency is then judged against those of the same input, or the longer
            inputs among them would look like a change.
    """
    count = len(series)
    few = _too_few(count, period)
    if few is not None:
        return Judgement(None, few)
    size = batch_size(count)
    batches = medians(series, size, _usual(series, period) if period > 1 else [1.0])
    place, change = step(batches, is_rise=True)
    if change is not None:
        text = f"it became {change:.0%} slower after {place * size} of {count} inferences"
        return Judgement(False, text, is_final=True)
    rise = trend(batches)
    if rise is not None and rise > 0:
        return Judgement(False, f"latency kept rising, by {rise:.0%} in {count} inferences")
    dropped, is_edge = mser(batches)
    # A search that ran out of series found no end of warm-up: then nothing is cut, and the whole is judged.
    dropped = 0 if is_edge else dropped
    moving = _why_moving(batches, dropped, size, count)
    return Judgement(True, None, dropped * size) if moving is None else Judgement(False, moving)


def _why_moving(batches: Sequence[float], dropped: int, size: int, count: int) -> str | None:
    """Why what is left behind the warm-up is not steady."""
    rest = batches[dropped:]
    drift = trend(rest)
    if drift is not None:
        direction = "rising" if drift > 0 else "falling"
        return f"latency kept {direction}, by {abs(drift):.0%} in {len(rest) * size} inferences"
    if _still_settling(batches, rest):
        return f"it was still becoming faster after {count} inferences"
    place, change = step(rest, is_rise=False)
    return (
        None
        if change is None
        else f"it became {-change:.0%} faster after {(dropped + place) * size} of {count} inferences"
    )


def _too_few(count: int, period: int) -> str | None:
    if count < MIN_COUNT:
        return f"{count} inferences are too few to tell, {MIN_COUNT} are wanted"
    if period > 1 and count < _MIN_TURNS * period:
        return f"{count} inferences of {period} inputs of several sizes are too few to tell"
    return None


def batch_size(count: int) -> int:
    """Return how many inferences make a batch: five, fewer in a short series (at least 24 batches), more in a long one (at most 120)."""
    return max(1, min(_MSER_BATCH, count // _MIN_BATCHES), -(-count // _MAX_BATCHES))


def medians(series: Sequence[int], size: int, usual: Sequence[float] = (1.0,)) -> list[float]:
    """Return the medians of consecutive whole batches of `size`, each value in units of what is usual for its input."""
    period = len(usual)
    starts = range(0, max(len(series) - size, 0) + 1, size)
    return [
        median(
            [
                value / usual[(start + number) % period]
                for number, value in enumerate(series[start : start + min(size, _MAX_OF_BATCH)])
            ]
        )
        for start in starts
    ]


def _usual(series: Sequence[int], period: int) -> list[float]:
    turns = [series[first::period] for first in range(period)]
    return [median(values[:: max(1, len(values) // _MAX_OF_BATCH)]) for values in turns]


def mser(batches: Sequence[float]) -> tuple[int, bool]:
    """Return how many batches at the beginning to leave out, by White's rule, and whether that is as many as were tried (half of them)."""
    half = len(batches) // 2
    middle = median(batches)
    total = square = 0.0
    best, lowest = half, float("inf")
    for index in range(len(batches) - 1, -1, -1):
        value = batches[index] - middle  # near zero, so that the sum of squares keeps its digits
        total += value
        square += value * value
        if index <= half:
            kept = len(batches) - index
            error = (square - total * total / kept) / (kept * kept)
            if error <= lowest:
                best, lowest = index, error
    return best, best == half


def trend(values: Sequence[float]) -> float | None:
    """Return the relative change over the whole series when there is a trend that matters, else None."""
    z, change = movement(values)
    return change if z > _TREND_Z and abs(change) > _TREND_CHANGE else None


def _still_settling(batches: Sequence[float], rest: Sequence[float]) -> bool:
    """Warm-up that takes longer than the series: what is left of it falls nearly as fast as all of it did, only too short a way to matter by itself."""
    fall = trend(batches)
    if fall is None or fall > 0 or len(rest) == len(batches):
        return False
    z, left = movement(rest)
    is_falling = z > _SETTLING_Z and left < -_TREND_CHANGE / 2
    return is_falling and left / len(rest) < _SETTLING * fall / len(batches)


def movement(values: Sequence[float]) -> tuple[float, float]:
    """Return how sure it is that a series moves (z), and its relative change from end to end.

    Mann-Kendall without ties: z = (|S| - 1) / sqrt(n (n - 1) (2 n + 5) / 18), S the sum of the signs of all pairs; Theil-Sen: the median of all pairs' slopes.
    """
    levels = [
        median(values[number * len(values) // _SLICES : (number + 1) * len(values) // _SLICES] or values[-1:])
        for number in range(_SLICES)
    ]
    pairs = [(levels[j] - levels[i], j - i) for i in range(_SLICES) for j in range(i + 1, _SLICES)]
    score = sum((rise > 0) - (rise < 0) for rise, _ in pairs)
    z = (abs(score) - 1) / (_SLICES * (_SLICES - 1) * (2 * _SLICES + 5) / 18) ** 0.5
    return z, median([rise / run for rise, run in pairs]) * (_SLICES - 1) / median(levels)


def step(values: Sequence[float], *, is_rise: bool) -> tuple[int, float | None]:
    """Return where a beginning and the rest of it differ most in level, upwards or downwards, and the relative change; None when no difference matters."""
    sign = 1 if is_rise else -1
    best, largest = 0, None
    for place in range(_MIN_SEGMENT, len(values) - _MIN_SEGMENT + 1):
        change = _change(values[:place], values[place:])
        if change * sign > abs(largest or 0.0):
            best, largest = place, change
    return best, largest


def _change(first: Sequence[float], rest: Sequence[float]) -> float:
    level, later = median(first), median(rest)
    change = later - level
    if abs(change) <= _STEP_CHANGE * level:
        return 0.0
    spread = median([abs(value - level) for value in first] + [abs(value - later) for value in rest])
    return change / level if abs(change) > _STEP_NOISES * _MAD_TO_SIGMA * spread else 0.0


def median(values: Sequence[float]) -> float:
    """Return the median of at least one value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
