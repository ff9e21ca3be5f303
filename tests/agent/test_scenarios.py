"""Scenarios with a virtual clock: what counts as latency, what is late, and that threads are let go."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent.arguments import Arguments
from edgeopt_agent.errors import AgentError
from edgeopt_agent.scenarios import OFFLINE_REPEATS, Measured, Streams, check, run_scenario
from edgeopt_agent.timing import Plan

MS = 1_000_000


class Board:
    """A clock that moves while the board computes or sleeps. `taken_ms(n)` is what inference n, from 0, takes; `drowsy_ms` what a sleep takes too long."""

    def __init__(self, taken_ms: Any, drowsy_ms: float = 0.0) -> None:
        self.now_ns = 10**12
        self.fed: list[Any] = []
        self._taken_ms = taken_ms
        self._drowsy_ms = drowsy_ms

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9 + self._drowsy_ms * MS) + 1

    def run(self, feed: Any) -> Any:
        self.now_ns += int(self._taken_ms(len(self.fed)) * MS)
        self.fed.append(feed)
        return [feed]


def plan(min_s: float = 1.0, min_count: int = 20, max_s: float = 5.0) -> Plan:
    return Plan(
        min_ns=int(min_s * 1e9), min_count=min_count, max_ns=int(max_s * 1e9), warmup_min_ns=0, warmup_min_count=3
    )


def measured(board: Board, scenario: dict[str, Any], how_long: Plan | None = None, **more: Any) -> Measured:
    phases: list[str] = []
    found = run_scenario(
        {"streams": 1, **scenario},
        board.run,
        ["a", "b", "c"],
        (board.clock, board.sleep),
        how_long or plan(),
        phases.append,
        **more,
    )
    assert phases == ["first", "warmup", "timed"]
    return found


@pytest.mark.parametrize("name", ["single-stream", "multi-stream"])
def test_one_stream_is_the_plain_loop(name: str) -> None:
    found = measured(Board(lambda _: 10.0), {"name": name})
    assert set(found.latencies_ns) == {10 * MS}
    assert (found.inferences, found.timed_ns, found.late_starts) == (100, 1000 * MS, None)
    assert not found.stream_ns


class TestFixedRate:
    SCENARIO: ClassVar[dict[str, Any]] = {"name": "fixed-rate", "rate_hz": 50.0}

    def test_a_fast_model_has_its_own_latency_and_is_never_late(self) -> None:
        found = measured(Board(lambda _: 5.0), self.SCENARIO)
        assert {round(value / MS, 3) for value in found.latencies_ns} == {5.0}
        assert (found.inferences, found.late_starts, found.flags) == (50, 0, [])
        assert found.timed_ns == pytest.approx(1005 * MS, rel=0.001)

    def test_what_waits_behind_a_slow_one_counts_from_its_scheduled_time(self) -> None:
        """Inference 10 of the timed part takes 55 ms where 20 lie between arrivals: the next two begin late, by 35 and 20 ms."""
        found = measured(Board(lambda n: 55.0 if n == 4 + 9 else 5.0), self.SCENARIO)
        assert [round(value / MS) for value in found.latencies_ns[8:14]] == [5, 55, 40, 25, 10, 5]
        assert found.late_starts == 3
        assert found.flags == []

    def test_a_sleep_that_lasts_too_long_is_part_of_the_latency_and_nobody_else_waits(self) -> None:
        found = measured(Board(lambda _: 5.0, drowsy_ms=1.0), self.SCENARIO)
        assert {round(value / MS) for value in found.latencies_ns} == {6}
        assert found.late_starts == 0

    def test_a_model_that_does_not_keep_up_is_flagged(self) -> None:
        found = measured(Board(lambda _: 25.0), self.SCENARIO)
        assert found.flags == ["overload"]
        assert found.late_starts == found.inferences - 1
        assert found.latencies_ns[-1] > 5 * found.latencies_ns[0]

    def test_the_maximum_ends_it(self) -> None:
        found = measured(Board(lambda _: 5.0), {"name": "fixed-rate", "rate_hz": 2.0}, plan(1.0, 100, 3.0))
        assert found.inferences == 6

    def test_slow_models_are_repeated_less(self) -> None:
        found = measured(Board(lambda _: 600.0), {"name": "fixed-rate", "rate_hz": 1.0}, plan(0.1, 100, 60.0))
        assert found.inferences == 5

    @given(st.lists(st.floats(0.1, 60.0), min_size=1, max_size=30))
    def test_latency_is_never_less_than_the_inference_and_a_queue_is_served_in_order(self, taken: list[float]) -> None:
        board = Board(lambda n: taken[n % len(taken)])
        found = measured(board, self.SCENARIO, plan(0.5, 10, 2.0))
        assert len(found.latencies_ns) == found.inferences
        assert min(found.latencies_ns) >= int(min(taken) * MS)
        # Arrivals are 20 ms apart and answers come in their order, each at least one inference after the one before.
        ends = [number * 20 * MS + latency for number, latency in enumerate(found.latencies_ns)]
        assert all(after - before >= int(min(taken) * MS) for before, after in pairwise(ends))


def one_at_a_time(board: Board) -> Board:
    """Threads of one virtual clock move it one after the other."""
    lock, plain = threading.Lock(), board.run

    def run(feed: Any) -> Any:
        with lock:
            return plain(feed)

    board.run = run  # type: ignore[method-assign]
    return board


class TestAtOnce:
    def test_a_query_waits_for_its_slowest(self) -> None:
        """Threads with one virtual clock: together they move it by the sum, which is what the query takes."""
        board = one_at_a_time(Board(lambda _: 2.0))
        found = measured(board, {"name": "multi-stream", "streams": 3}, plan(0.3, 20, 2.0))
        assert set(found.latencies_ns) == {6 * MS}
        assert found.timing.first_ns == 2 * MS
        assert found.inferences == 3 * len(found.latencies_ns) == len(found.stream_ns)
        assert found.timed_ns == 6 * MS * len(found.latencies_ns)
        assert max(found.stream_ns) <= 6 * MS

    def test_every_stream_runs_in_a_thread_of_its_own_at_the_same_time(self) -> None:
        meeting = threading.Barrier(3, timeout=20)
        names = set()

        def run(_feed: Any) -> str:
            names.add(threading.get_ident())
            meeting.wait()
            return "done"

        with Streams(run, ["a"], lambda: 0, 3, 1) as streams:
            streams._is_first = False
            assert streams("a") == "done"
        assert len(names) == 3

    def test_offline_is_time_per_inference(self) -> None:
        board = one_at_a_time(Board(lambda _: 2.0))
        found = measured(board, {"name": "offline", "streams": 2}, plan(0.3, 5, 2.0))
        assert set(found.latencies_ns) == {2 * MS}
        assert found.inferences == 2 * OFFLINE_REPEATS * len(found.latencies_ns)
        assert found.timed_ns == 2 * MS * found.inferences

    def test_batches_are_used_where_the_model_takes_them(self) -> None:
        board = Board(lambda n: 2.0 if n == 0 else 12.0)
        found = measured(board, {"name": "offline", "streams": 4}, plan(0.3, 5, 2.0), batches=["abca", "bcab"])
        assert board.fed[0] == "a"
        assert set(board.fed[1:]) == {"abca", "bcab"}
        assert found.timing.first_ns == 2 * MS
        assert set(found.latencies_ns) == {3 * MS}
        assert found.inferences == 4 * len(found.latencies_ns)

    def test_what_a_stream_raises_comes_out_and_the_threads_end(self) -> None:
        def run(feed: str) -> None:
            if feed == "b":
                raise ValueError("no")

        before = threading.active_count()
        with Streams(run, ["a", "b"], lambda: 0, 2, 1) as streams:
            streams("a")
            with pytest.raises(ValueError, match="no"):
                streams("a")
        assert threading.active_count() == before


class TestCheck:
    def test_what_is_asked_comes_back_within_bounds(self) -> None:
        assert check(Arguments({"name": "offline", "streams": 8})) == {"name": "offline", "streams": 8}
        assert check(Arguments({"name": "single-stream"})) == {"name": "single-stream", "streams": 1}
        rate = {"name": "fixed-rate", "rate_hz": 30, "more": 1}
        assert check(Arguments(rate)) == {"name": "fixed-rate", "streams": 1, "rate_hz": 30}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "burst"},
            {"name": "fixed-rate"},
            {"name": "fixed-rate", "rate_hz": 0},
            {"name": "fixed-rate", "rate_hz": float("nan")},
            {"name": "multi-stream", "streams": 0},
            {"name": "multi-stream", "streams": 1000},
        ],
    )
    def test_anything_else_is_a_bad_request(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(AgentError) as caught:
            check(Arguments(wrong))
        assert caught.value.code == "bad-request"
