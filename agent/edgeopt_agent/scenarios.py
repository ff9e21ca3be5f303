"""How inferences arrive: one after the other, several at once, at a fixed rate, or as many as possible. Clock, sleep and model are parameters, so that simulated ones drive the same code.

single-stream   the next begins when the last has ended; latency of each
multi-stream    k at once, from threads of their own on one loaded model; the query's latency is that of its slowest
fixed-rate      one every 1/f seconds; latency from the *scheduled* time, so what waits behind a slow one counts (no coordinated omission)
offline         as many as possible, in batches of k where the model takes batches, otherwise on k threads; time per inference
"""

from __future__ import annotations

import threading
from array import array
from itertools import cycle

from edgeopt_agent.errors import AgentError
from edgeopt_agent.steady import judge
from edgeopt_agent.timing import SLOW_INFERENCES, SLOW_NS, Timing, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from edgeopt_agent.arguments import Arguments
    from edgeopt_agent.timing import Clock, Plan, Run

    Sleep = Callable[[float], object]
    Enter = Callable[[str], object]

SINGLE = "single-stream"
NAMES = (SINGLE, "multi-stream", "fixed-rate", "offline")
OFFLINE_REPEATS = 8
"""Inferences of each thread before the threads wait for each other: what that waiting costs is shared by so many."""
_MAX_STREAMS = 64
_MAX_RATE_HZ = 100_000.0
_OVERLOAD_PERIODS = 3
"""So far behind its schedule at the end, a model does not keep up."""


def check(args: Arguments) -> dict[str, Any]:
    """Return the scenario of a job, within bounds.

    Raises:
        AgentError: `bad-request`.
    """
    name = args.choice("name", NAMES)
    scenario: dict[str, Any] = {"name": name, "streams": int(args.number("streams", 1, _MAX_STREAMS, default=1))}
    if name == "fixed-rate":
        if args.values.get("rate_hz") is None:
            raise AgentError("bad-request", "scenario: fixed-rate needs rate_hz", field="rate_hz")
        scenario["rate_hz"] = args.number("rate_hz", 0.001, _MAX_RATE_HZ)
    return scenario


class Measured:
    """What a scenario measured.

    Attributes:
        timing: of the queries.
        warmup_ns: those that do not count, as below.
        latencies_ns: of queries; time per inference when offline.
        inferences: how many the counted queries were.
        timed_ns: for how long they ran.
        late_starts: scheduled inferences of the timed part that had to wait for the one before; None unless there is a schedule.
        stream_ns: latencies of the single inferences of queries of several.
        flags: `overload` when the schedule ran away.
    """

    __slots__ = ("flags", "inferences", "late_starts", "latencies_ns", "stream_ns", "timed_ns", "timing", "warmup_ns")

    def __init__(self, timing: Timing, *, per_query: int = 1, is_offline: bool = False) -> None:
        self.timing = timing
        shared = per_query if is_offline else 1
        self.warmup_ns = array("Q", [value // shared for value in timing.warmup_ns])
        self.latencies_ns = array("Q", [value // shared for value in timing.latencies_ns])
        self.inferences = per_query * len(timing.latencies_ns)
        self.timed_ns = sum(timing.latencies_ns)
        self.late_starts: int | None = None
        self.stream_ns = array("Q")
        self.flags: list[str] = []


def run_scenario(
    scenario: dict[str, Any],
    run: Run,
    feeds: Sequence[Any],
    time: tuple[Clock, Sleep],
    plan: Plan,
    enter: Enter,
    *,
    batches: Sequence[Any] = (),
) -> Measured:
    """Measure one block.

    Args:
        scenario: of `check`.
        run: one inference; called from several threads at once in the scenarios that say so.
        feeds: what it is given, in turn; at least one.
        time: a monotonic clock in ns, and a sleep that takes seconds.
        plan: how long.
        enter: called with `first`, `warmup` and `timed` before each of these begins.
        batches: feeds of `streams` samples each, for `offline`; empty where the model does not take batches.
    """
    name, streams, clock = scenario["name"], scenario["streams"], time[0]
    if name == "fixed-rate":
        return _paced(run, feeds, time, scenario["rate_hz"], plan, enter)
    if name == "offline" and batches:
        return _batched(run, feeds, batches, clock, streams, plan, enter)
    if name == SINGLE or (name == "multi-stream" and streams == 1):
        return Measured(measure(run, feeds, clock, plan, enter))
    is_offline = name == "offline"
    repeats = OFFLINE_REPEATS if is_offline else 1
    with Streams(run, feeds, clock, streams, repeats) as at_once:
        timing = measure(at_once, feeds, clock, plan, enter)
    measured = Measured(timing, per_query=streams * repeats, is_offline=is_offline)
    measured.stream_ns = at_once.latencies_ns(last=len(timing.latencies_ns))
    return measured


def _batched(
    run: Run, feeds: Sequence[Any], batches: Sequence[Any], clock: Clock, size: int, plan: Plan, enter: Enter
) -> Measured:
    """The first inference is of one sample, so that it can be compared."""
    first = [True]
    turn = cycle(batches)

    def next_batch(feed: Any) -> Any:
        if first[0]:
            first[0] = False
            return run(feed)
        return run(next(turn))

    return Measured(measure(next_batch, feeds, clock, plan, enter), per_query=size, is_offline=True)


class Streams:
    """Threads that run inferences at once, a query at a time; the first call is one plain inference. Close it with `with`."""

    def __init__(self, run: Run, feeds: Sequence[Any], clock: Clock, count: int, repeats: int) -> None:
        self._run = run
        self._clock = clock
        self._repeats = repeats
        self._is_first = True
        self._is_over = False
        self._errors: list[BaseException] = []
        # Each thread begins elsewhere among the samples, so that they do not all run the same one.
        self._turns: list[Iterator[Any]] = [
            cycle([*feeds[number % len(feeds) :], *feeds[: number % len(feeds)]]) for number in range(count)
        ]
        self._taken = [array("Q") for _ in range(count)]
        self._go = [threading.Semaphore(0) for _ in range(count - 1)]
        self._done = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), daemon=True) for number in range(1, count)
        ]

    def __enter__(self) -> Streams:  # noqa: PYI034 - typing has Self from 3.11 on
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for go in self._go:
            go.release()
        for thread in self._threads:
            thread.join()

    def __call__(self, feed: Any) -> Any:
        """Run a query; returns the outputs of its first stream. What a stream raised is raised here."""
        if self._is_first:
            self._is_first = False
            return self._run(feed)
        for go in self._go:
            go.release()
        outputs = self._work(0)
        for _ in self._go:
            self._done.acquire()
        if self._errors:
            raise self._errors[0]
        return outputs

    def _serve(self, number: int) -> None:
        while True:
            self._go[number - 1].acquire()
            if self._is_over:
                return
            try:
                self._work(number)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                self._errors.append(error)
            self._done.release()

    def _work(self, number: int) -> Any:
        turn, taken, clock, run = self._turns[number], self._taken[number], self._clock, self._run
        outputs: Any = None
        for _ in range(self._repeats):
            feed = next(turn)
            start = clock()
            outputs = run(feed)
            taken.append(clock() - start)
        return outputs

    def latencies_ns(self, *, last: int) -> array[int]:
        """Return the latencies of the single inferences of so many queries, the newest, stream after stream."""
        count = last * self._repeats
        return array("Q", [value for taken in self._taken for value in taken[len(taken) - count :]])


def _paced(
    run: Run, feeds: Sequence[Any], time: tuple[Clock, Sleep], rate_hz: float, plan: Plan, enter: Enter
) -> Measured:
    """Warm-up keeps the schedule, too: a governor clocks down between paced inferences, and that is part of the answer."""
    clock = time[0]
    enter("first")
    start = clock()
    first_output = run(feeds[0])
    first_ns = clock() - start
    schedule = _Schedule(run, cycle(feeds), time, 1e9 / rate_hz)
    enter("warmup")
    warmup = schedule.follow(plan.warmup_min_ns, plan.warmup_min_count, plan.max_ns)
    is_slow = min(first_ns, *warmup) > SLOW_NS
    enter("timed")
    schedule.begin()
    count = min(plan.min_count, SLOW_INFERENCES) if is_slow else plan.min_count
    timed = schedule.follow(plan.min_ns, count, plan.max_ns)
    judgement = judge(timed)
    timing = Timing((first_ns, first_output), warmup, timed, judgement, schedule.last_output)
    measured = Measured(timing)
    # All arrivals count: to leave out a slow beginning would leave out those that waited for it.
    measured.warmup_ns, measured.latencies_ns = warmup, timed
    measured.inferences, measured.timed_ns = len(timed), schedule.elapsed_ns
    measured.late_starts = schedule.late
    if schedule.behind_ns > _OVERLOAD_PERIODS * schedule.period_ns:
        measured.flags = ["overload"]
    return measured


class _Schedule:
    """Arrivals every `period_ns`, whether the one before has ended or not."""

    def __init__(self, run: Run, feeds: Iterator[Any], time: tuple[Clock, Sleep], period_ns: float) -> None:
        self._run = run
        self._feeds = feeds
        self._clock, self._sleep = time
        self.period_ns = period_ns
        self.last_output: Any = None
        self.begin()

    def begin(self) -> None:
        """Start the schedule anew: the next arrival is one period from now."""
        self._start_ns = self._clock()
        self._arrivals = 0
        self.late = 0
        self.behind_ns = 0.0
        self.elapsed_ns = 0

    def follow(self, min_ns: int, min_count: int, max_ns: int) -> array[int]:
        """Serve arrivals until both minima are reached, or the maximum time; returns latencies from the scheduled times."""
        latencies = array("Q")
        clock, run = self._clock, self._run
        for feed in self._feeds:  # pragma: no branch - it has no end of its own
            self._arrivals += 1
            due = self._start_ns + int(self._arrivals * self.period_ns)
            self.behind_ns = clock() - due
            if self.behind_ns > 0:
                self.late += 1
            while (left := due - clock()) > 0:
                self._sleep(left / 1e9)
            fresh = run(feed)
            end = clock()
            latencies.append(end - due)
            self.last_output = fresh
            self.elapsed_ns = end - self._start_ns
            if self.elapsed_ns >= min_ns and len(latencies) >= min_count:
                break
            if max_ns and self.elapsed_ns >= max_ns:
                break
        return latencies
