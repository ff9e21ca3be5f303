"""A timed block on a board that is in its reference state, and what the board's speed was before and after it.

The reference is how warm and how fast the board was when the session's first block began. Blocks that begin alike can be compared; a board that is warm from the block before may
already be slowed down. The wait has a cap, because a board in the sun never gets back to where it was.
"""

from __future__ import annotations

import re
import time

from edgeopt_agent import block, canary
from edgeopt_agent.probes import thermal
from edgeopt_agent.steady import median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.session import Session

_LOOK_S = 1.0
_PATIENCE_S = 5.0
"""When neither temperature nor speed got better for so long, waiting longer does not help."""
_COOLER_C = 0.5
_FASTER = 0.99
_OF_CORES = re.compile(r"cpu|soc|core|pkg|package|k10|gpu|big|little|tsens|thermal", re.IGNORECASE)


class Reference:
    """How warm and how fast the board is when nothing has been asked of it. Gets cooler and faster when the board does: it may have been warm, or busy, when the session began."""

    def __init__(self, temperature_c: dict[str, float] | None, canary_ns: int) -> None:
        self._coolest = dict(of_cores(temperature_c or {}))
        self._recent_ns: list[int] = []
        self.canary_ns = canary_ns

    def began_at(self, canary_ns: int) -> None:
        """Take note of the canary before a block. The median of five that beats the reference is the new one; a single fast one may be luck."""
        self._recent_ns = [*self._recent_ns, canary_ns][-canary.REFERENCES :]
        if len(self._recent_ns) == canary.REFERENCES:
            self.canary_ns = min(self.canary_ns, round(median(self._recent_ns)))

    def excess_c(self, temperature_c: dict[str, float] | None) -> float | None:
        """Return by how many degrees the sensor that is furthest above its reference is so; None when no sensor answers."""
        found = [
            (name, value, self._coolest[name]) for name, value in (temperature_c or {}).items() if name in self._coolest
        ]
        for name, value, coolest in found:
            self._coolest[name] = min(value, coolest)
        return max((value - coolest for _, value, coolest in found), default=None)


def of_cores(temperature_c: dict[str, float]) -> dict[str, float]:
    """Return the sensors of what computes; all of them when no name says so. A disk or a radio has a temperature of its own."""
    found = {name: value for name, value in temperature_c.items() if _OF_CORES.search(name)}
    return found or temperature_c


class CoolDown:
    """Decides when the wait is over. Pure: it is told the time, the excess temperature and the speed.

    Args:
        max_s: the longest wait; 0 means none.
        margin_c: so many degrees above the reference are as good as it.
        canary_ratio: so much slower than the reference is as good as it.
    """

    def __init__(self, *, max_s: float, margin_c: float, canary_ratio: float) -> None:
        self._max_s = max_s
        self._margin_c = margin_c
        self._canary_ratio = canary_ratio
        self._coolest = self._fastest = float("inf")
        self._better_s = 0.0

    def verdict(self, elapsed_s: float, excess_c: float | None, slowness: float) -> bool | None:
        """Return True at the reference state, False when it is not worth waiting any longer, None for: wait and look again.

        Args:
            elapsed_s: since the wait began.
            excess_c: degrees above the reference; None without a sensor, then speed alone tells.
            slowness: canary over its reference.
        """
        warmth = excess_c or 0.0
        if warmth <= self._margin_c and slowness <= self._canary_ratio:
            return True
        if warmth < self._coolest - _COOLER_C or slowness < self._fastest * _FASTER:
            self._coolest, self._fastest = min(warmth, self._coolest), min(slowness, self._fastest)
            self._better_s = elapsed_s
        if elapsed_s >= self._max_s or elapsed_s - self._better_s >= _PATIENCE_S:
            return False
        return None


def run(session: Session, job: dict[str, Any]) -> dict[str, Any]:
    """Run a block of mode `time`: wait for the reference state, time the canary, run, time it again.

    Raises:
        Cancelled: the host is gone.
    """
    sensors = thermal.sensors()

    def temperatures() -> dict[str, float] | None:
        return thermal.temperatures_c(sensors)

    if session.reference is None:
        session.reference = Reference(temperatures(), canary.reference_ns())
    reference = session.reference
    waited_s, is_reset, before_ns = _wait(session, CoolDown(**job["cool_down"]), reference, temperatures)
    reference_ns = reference.canary_ns
    reference.began_at(before_ns)
    result = block.run(session, job, timeout_s=job["timeout_s"])
    after_ns = _canary_ns(before_ns)
    result["cool_down_s"] = round(waited_s, 3)
    result["conditions_before"].update(canary_ns=before_ns, canary_reference_ns=reference_ns)
    result["conditions_after"].update(canary_ns=after_ns, canary_reference_ns=reference_ns)
    found = {
        "slowed": canary.is_slowed(before_ns, after_ns, reference_ns),
        "not-reset": not is_reset and job["cool_down"]["max_s"] > 0,
    }
    result["flags"] += [name for name, is_set in found.items() if is_set]
    return result


def _canary_ns(usual_ns: int) -> int:
    """Run the canary; a second time when the first was slow, for a board that is slowed down is so twice."""
    found = canary.run_ns()
    return found if found <= canary.SLOWED * usual_ns else min(found, canary.run_ns())


def _wait(
    session: Session,
    plan: CoolDown,
    reference: Reference,
    temperatures: Callable[[], dict[str, float] | None],
) -> tuple[float, bool, int]:
    begun = time.monotonic()
    is_waiting = False
    while True:
        excess_c = reference.excess_c(temperatures())
        canary_ns = _canary_ns(reference.canary_ns)
        elapsed_s = time.monotonic() - begun
        found = plan.verdict(elapsed_s, excess_c, canary_ns / reference.canary_ns)
        if found is not None:
            return elapsed_s if is_waiting else 0.0, found, canary_ns
        is_waiting = True
        session.emit({"phase": "cool-down"})
        session.wait(_LOOK_S)
