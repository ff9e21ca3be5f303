"""What a board keeps up: inferences back to back until its temperature is flat, or a cap. Clock, model and thermometer are parameters, so that simulated boards drive the same code."""

from __future__ import annotations

from array import array

from edgeopt_agent.steady import median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from edgeopt_agent.arguments import Arguments
    from edgeopt_agent.timing import Clock, Run

WINDOW_NS = 10_000_000_000
FLAT_WINDOWS = 12
"""Two minutes: a sensor that knows whole degrees needs so long to show 0.2 degrees a minute at all."""
FLAT_C_PER_MIN = 0.2
LEVEL_WINDOWS = 6
"""The last minute is the sustained level."""
_MAX_S = 3600.0


def check(args: Arguments) -> dict[str, Any]:
    """Return what a job of this mode says, within bounds.

    Raises:
        AgentError: `bad-request`.
    """
    return {"max_s": args.number("max_s", 1, _MAX_S)}


def sustain(
    run: Run, feeds: Sequence[Any], clock: Clock, thermometer: Callable[[], float | None], max_ns: int
) -> tuple[dict[str, Any], Any]:
    """Run until it is flat.

    Args:
        run: one inference.
        feeds: what it is given, in turn; at least one.
        clock: monotonic, in ns.
        thermometer: degrees Celsius of the warmest sensor, None without one; then only the cap ends it. Read between windows, never inside.
        max_ns: the cap.

    Returns:
        (`ended` "flat" or "limit", `windows` [{"end_ns", "median_ns", "inferences", "temperature_c"}] of ten seconds, `burst_ns` the first one's median, `sustained_ns` the median
        of the last minute; the last outputs).
    """
    windows: list[dict[str, Any]] = []
    kept: list[array[int]] = []
    begin = clock()
    number, ended = 0, "limit"
    outputs: Any = None
    while not windows or windows[-1]["end_ns"] < max_ns:
        latencies = array("Q")
        until = clock() + WINDOW_NS
        while True:
            start = clock()
            fresh = run(feeds[number % len(feeds)])
            end = clock()
            latencies.append(end - start)
            outputs, number = fresh, number + 1
            if end >= until or end - begin >= max_ns:
                break
        kept = [*kept[-(LEVEL_WINDOWS - 1) :], latencies]
        windows.append(
            {
                "end_ns": end - begin,
                "median_ns": int(median(latencies)),
                "inferences": len(latencies),
                "temperature_c": thermometer(),
            }
        )
        if is_flat([window["temperature_c"] for window in windows]):
            ended = "flat"
            break
    level = median([latency for part in kept for latency in part])
    result = {"ended": ended, "windows": windows, "burst_ns": windows[0]["median_ns"], "sustained_ns": int(level)}
    return result, outputs


def is_flat(temperatures_c: Sequence[float | None]) -> bool:
    """Tell whether the last two minutes rose or fell by less than 0.2 degrees a minute (Theil-Sen: the median of all slopes)."""
    last = [value for value in temperatures_c[-FLAT_WINDOWS:] if value is not None]
    if len(last) < FLAT_WINDOWS:
        return False
    slopes = [(last[j] - last[i]) / (j - i) for i in range(len(last)) for j in range(i + 1, len(last))]
    return abs(median(slopes)) * 60e9 / WINDOW_NS < FLAT_C_PER_MIN
