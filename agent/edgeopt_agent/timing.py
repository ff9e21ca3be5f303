"""The measuring loop of a block: first inference, warm-up, timed inferences until they are steady. Clock and model are parameters, so that simulated ones drive the same code.

Nothing but the inference stands between two readings of the clock. Whether the series is steady is asked rarely, and between inferences: when the minima are reached, then
whenever the time has grown by a quarter.
"""

from __future__ import annotations

from array import array
from itertools import cycle

from edgeopt_agent.steady import judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from edgeopt_agent.steady import Judgement

    Run = Callable[[Any], Any]
    Clock = Callable[[], int]

SLOW_NS = 500_000_000
"""An inference that takes longer is repeated only SLOW_INFERENCES times."""
SLOW_INFERENCES = 5
_GROWTH = 1.25
"""A judgement costs milliseconds; at most a dozen of them lie between the shortest and the longest block."""


class Plan:
    """How long to measure. Times in ns.

    Args:
        min_ns: the timed part takes at least so long.
        min_count: and has at least so many inferences (at most SLOW_INFERENCES when each takes longer than SLOW_NS).
        max_ns: warm-up, and the timed part, end then whatever the minima say and steady or not.
        warmup_min_ns: what comes before takes at least so long.
        warmup_min_count: and has at least so many inferences.
        is_mixed: the feeds are of several sizes, so that their latencies differ for that reason.
    """

    __slots__ = ("is_mixed", "max_ns", "min_count", "min_ns", "warmup_min_count", "warmup_min_ns")

    def __init__(
        self,
        *,
        min_ns: int,
        min_count: int,
        max_ns: int,
        warmup_min_ns: int = 0,
        warmup_min_count: int = 0,
        is_mixed: bool = False,
    ) -> None:
        self.is_mixed = is_mixed
        self.min_ns = min_ns
        self.min_count = min_count
        self.max_ns = max_ns
        self.warmup_min_ns = warmup_min_ns
        self.warmup_min_count = warmup_min_count


class Timing:
    """What was measured. Times in ns.

    Attributes:
        first_ns: the first inference.
        judgement: whether all that was timed is steady, and how much of its beginning is warm-up.
        first_output: what the first inference returned.
        last_output: what the last one returned.
    """

    __slots__ = ("_timed", "_warmup", "first_ns", "first_output", "judgement", "last_output")

    def __init__(
        self, first: tuple[int, Any], warmup: array[int], timed: array[int], judgement: Judgement, last_output: Any
    ) -> None:
        self.first_ns, self.first_output = first
        self._warmup = warmup
        self._timed = timed
        self.judgement = judgement
        self.last_output = last_output

    @property
    def warmup_ns(self) -> array[int]:
        """The inferences after the first that do not count: the planned ones, and those that turned out to be warm-up."""
        return self._warmup + self._timed[: self.judgement.cut]

    @property
    def latencies_ns(self) -> array[int]:
        """The inferences that count."""
        return self._timed[self.judgement.cut :]


def measure(run: Run, feeds: Sequence[Any], clock: Clock, plan: Plan, enter: Callable[[str], object]) -> Timing:
    """Measure one block.

    Args:
        run: one inference.
        feeds: what it is given, in turn; at least one.
        clock: monotonic, in ns.
        plan: how long.
        enter: called with `first`, `warmup` and `timed` before each of these begins.
    """
    enter("first")
    first, first_output = _repeat(run, feeds[:1], clock, _Until(min_ns=0, min_count=1, max_ns=0))
    enter("warmup")
    planned = _Until(min_ns=plan.warmup_min_ns, min_count=plan.warmup_min_count, max_ns=plan.max_ns)
    warmup, _ = _repeat(run, feeds, clock, planned)
    is_slow = min(*first, *warmup) > SLOW_NS
    min_count = min(plan.min_count, SLOW_INFERENCES) if is_slow else plan.min_count
    enter("timed")
    period = len(feeds) if plan.is_mixed else 1
    until = _Until(min_ns=plan.min_ns, min_count=min_count, max_ns=plan.max_ns, steady_over=period)
    timed, last_output = _repeat(run, feeds, clock, until)
    return Timing((first[0], first_output), warmup, timed, until.judgement or judge(timed, period), last_output)


class _Until:
    """When a loop has done enough: both minima are reached and, with `steady_over` (the period of its feeds), the series is steady. `max_ns` 0 means no maximum."""

    def __init__(self, *, min_ns: int, min_count: int, max_ns: int, steady_over: int = 0) -> None:
        self.look_ns = min_ns
        self.min_count = min_count
        self.max_ns = max_ns
        self._steady_over = steady_over
        self.judgement: Judgement | None = None

    def is_enough(self, series: array[int], elapsed_ns: int) -> bool:
        """Say whether to stop, now that the minima are reached; if not, `look_ns` is when to ask again."""
        if not self._steady_over:
            return True
        self.look_ns = int(elapsed_ns * _GROWTH)
        found = judge(series, self._steady_over)
        if found.is_steady is False and not found.is_final:
            return False
        self.judgement = found
        return True


def _repeat(run: Run, feeds: Sequence[Any], clock: Clock, until: _Until) -> tuple[array[int], Any]:
    """Run the feeds in turn until it is enough; returns the latency of each inference in ns, and the last output."""
    latencies = array("Q")
    append = latencies.append
    outputs: Any = None
    min_count, look_ns, max_ns = until.min_count, until.look_ns, until.max_ns
    begin = clock()
    for feed in cycle(feeds):  # pragma: no branch - it has no end of its own
        start = clock()
        fresh = run(feed)
        end = clock()
        append(end - start)
        outputs = fresh  # kept until the next one is there: nobody can leave the work out, and freeing it is not timed
        elapsed = end - begin
        if elapsed >= look_ns and len(latencies) >= min_count:
            if until.is_enough(latencies, elapsed):
                break
            look_ns = until.look_ns
        if max_ns and elapsed >= max_ns:
            break
    return latencies, outputs
