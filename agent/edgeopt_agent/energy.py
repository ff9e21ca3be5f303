"""An energy window: idle, then the load in a process of its own, then idle again, while a power sensor is read. It returns raw samples and times; the host does the sums.

All times are of CLOCK_MONOTONIC, which all processes of a device share.
"""

from __future__ import annotations

import time

from edgeopt_agent import block
from edgeopt_agent.errors import AgentError
from edgeopt_agent.probes import power
from edgeopt_agent.sampler import Sampler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from edgeopt_agent.arguments import Arguments
    from edgeopt_agent.session import Session

    Run = Callable[[Any], Any]

_MAX_SAMPLES = 4000
"""With a dozen rails, half of what one answer may hold; longer windows are sampled less often."""
_SETTLE_S = 0.5
"""Between the end of the load's process and the second idle time."""
_DAY_S = 24 * 3600.0
_MILLION = 1_000_000


def check(session: Session, args: Arguments) -> dict[str, Any]:
    """Return what an energy job says beyond every job, within bounds.

    Raises:
        AgentError: `bad-request`, also when there is no such sensor.
    """
    name = None if args.values.get("sensor") is None else args.text("sensor")
    if name is not None and power.choose(name, session.sysfs_root) is None:
        raise AgentError("bad-request", f"sensor: there is no power sensor {name} that answers", field="sensor")
    return {
        "sensor": name,
        "idle_s": args.number("idle_s", 0, _DAY_S),
        "min_s": args.number("min_s", 0, _DAY_S),
        "min_inferences": args.number("min_inferences", 1, _MILLION),
        "max_s": args.number("max_s", 0.001, _DAY_S),
        "warmup_min_s": args.number("warmup_min_s", 0, _DAY_S),
    }


def run(session: Session, job: dict[str, Any]) -> dict[str, Any]:
    """Measure one window.

    Args:
        session: for events, and to notice that the host is gone.
        job: checked. `sensor` None means that the host reads a meter of its own meanwhile.

    Returns:
        A block result with, when it is ok, `idle_before_ns`, `load_window_ns`, `idle_after_ns` ([from, to]), `inferences`, and `rails`, `period_s`, `samples`
        ([time in ns, [value or None by rail]]) of the sensor.

    Raises:
        Cancelled: the host is gone.
    """
    sensor = None if job["sensor"] is None else power.choose(job["sensor"], session.sysfs_root)
    if sensor is None:
        return _windows(session, job)
    rails = list(sensor.facts["rails"])
    longest_s = 2 * job["idle_s"] + job["max_s"] + job["timeout_s"]
    period_s = max(float(sensor.facts["period_s"]), _period_for(job, longest_s))
    with Sampler(sensor.read, rails, period_s) as sampler:
        result = _windows(session, job)
    return {**result, "rails": rails, "period_s": period_s, "samples": sampler.samples[:_MAX_SAMPLES]}


def _period_for(job: dict[str, Any], longest_s: float) -> float:
    """Return how far apart samples must lie so that what is likely to be taken can be sent."""
    likely_s: float = min(2 * job["idle_s"] + 3 * job["min_s"] + 10.0, longest_s)
    return likely_s / _MAX_SAMPLES


def _windows(session: Session, job: dict[str, Any]) -> dict[str, Any]:
    before = _idle(session, job["idle_s"])
    result = block.run(session, job, timeout_s=job["timeout_s"])
    if result["status"] != "ok":
        return result
    session.wait(_SETTLE_S)
    after = _idle(session, job["idle_s"])
    return {**result, "idle_before_ns": before, "idle_after_ns": after}


def _idle(session: Session, seconds: float) -> tuple[int, int]:
    session.emit({"phase": "idle"})
    begin = time.monotonic_ns()
    session.wait(seconds)
    return begin, time.monotonic_ns()


def load(job: dict[str, Any], run_once: Run, feeds: Sequence[Any], enter: Callable[[str], None]) -> dict[str, Any]:
    """Run inferences back to back in the child, counting them; nothing else is done between the two ends of the window.

    Args:
        job: `warmup_min_s`, `min_s`, `min_inferences`, `max_s`.
        run_once: one inference.
        feeds: what it is given, in turn.
        enter: told of the phases `warmup` and `timed`.

    Returns:
        `load_window_ns`, `inferences`, and `last_output`, which is not for the wire.
    """
    enter("warmup")
    _repeat(run_once, feeds, int(job["warmup_min_s"] * 1e9), 1, int(job["max_s"] * 1e9))
    enter("timed")
    begin, end, count, output = _repeat(
        run_once, feeds, int(job["min_s"] * 1e9), int(job["min_inferences"]), int(job["max_s"] * 1e9)
    )
    return {"load_window_ns": (begin, end), "inferences": count, "last_output": output}


def _repeat(run_once: Run, feeds: Sequence[Any], min_ns: int, min_count: int, max_ns: int) -> tuple[int, int, int, Any]:
    clock = time.monotonic_ns
    begin = clock()
    count = 0
    while True:
        output = run_once(feeds[count % len(feeds)])
        count += 1
        now = clock()
        if (now - begin >= min_ns and count >= min_count) or now - begin >= max_ns:
            return begin, now, count, output
