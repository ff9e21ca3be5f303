"""The measuring loop with a virtual clock and a virtual model: how long it goes on, and what counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from edgeopt_agent.timing import SLOW_INFERENCES, Plan, Timing, measure

MS = 1_000_000


class Board:
    """A board whose clock moves only when it computes: inference number n, from 0, takes `latency_ms(n)`."""

    def __init__(self, latency_ms: Callable[[int], float]) -> None:
        self.now_ns = 10**12
        self.fed: list[str] = []
        self._latency_ms = latency_ms

    def clock(self) -> int:
        return self.now_ns

    def run(self, feed: str) -> int:
        self.now_ns += int(self._latency_ms(len(self.fed)) * MS)
        self.fed.append(feed)
        return len(self.fed)


def timed(
    latency_ms: Callable[[int], float], *, min_s: float = 1.0, min_count: int = 30, max_s: float = 15.0
) -> Timing:
    board = Board(latency_ms)
    plan = Plan(
        min_ns=int(min_s * 1e9),
        min_count=min_count,
        max_ns=int(max_s * 1e9),
        warmup_min_ns=50 * MS,
        warmup_min_count=3,
    )
    return measure(board.run, ["a", "b"], board.clock, plan, lambda _: None)


def alternating(level: float) -> Iterator[float]:
    while True:
        yield from (level, level * 1.001)


def test_a_steady_model_is_timed_for_the_minimum_and_no_longer() -> None:
    found = timed(lambda _: 10.0)
    assert found.judgement.is_steady
    assert (found.first_ns, len(found.warmup_ns), len(found.latencies_ns)) == (10 * MS, 5, 100)
    assert set(found.latencies_ns) == {10 * MS}


def test_the_count_is_a_minimum_too() -> None:
    assert len(timed(lambda _: 100.0, min_count=40).latencies_ns) == 40


def test_what_is_still_warm_up_moves_to_the_warm_up() -> None:
    found = timed(lambda n: 20.0 if n < 16 else 10.0)
    assert found.judgement.is_steady
    assert found.judgement.cut > 0
    assert max(found.latencies_ns) == 10 * MS
    assert found.warmup_ns.count(20 * MS) == 15  # one is the first inference


def test_a_model_that_is_still_getting_faster_is_timed_until_it_is_steady() -> None:
    found = timed(lambda n: max(10.0, 20.0 - n / 20))
    assert found.judgement.is_steady
    assert sum(found.warmup_ns) + sum(found.latencies_ns) > 3_000 * MS
    assert sorted(found.latencies_ns)[len(found.latencies_ns) // 2] == 10 * MS


def test_what_never_becomes_steady_ends_at_the_maximum_and_says_why() -> None:
    found = timed(lambda n: 10.0 + n / 50, max_s=5.0)
    assert found.judgement.is_steady is False
    assert "slower" in (found.judgement.reason or "") or "rising" in (found.judgement.reason or "")
    assert 0 < sum(found.latencies_ns) < 5_100 * MS


def test_a_board_that_slows_down_is_not_waited_for() -> None:
    found = timed(lambda n: 10.0 if n < 60 else 12.0)
    assert found.judgement.is_steady is False
    assert sum(found.latencies_ns) < 1_100 * MS


def test_a_slow_model_is_repeated_only_a_few_times_and_not_judged() -> None:
    found = timed(lambda _: 600.0)
    assert len(found.latencies_ns) == SLOW_INFERENCES
    assert found.judgement.is_steady is None
    assert "too few" in (found.judgement.reason or "")


def test_the_maximum_ends_a_series_that_is_too_short_to_judge() -> None:
    found = timed(lambda _: 400.0, max_s=2.0)
    assert (len(found.latencies_ns), found.judgement.is_steady) == (5, None)


def test_feeds_are_taken_in_turn_and_phases_announced_before_they_begin() -> None:
    board = Board(lambda _: 1.0)
    said: list[tuple[str, int]] = []
    plan = Plan(min_ns=0, min_count=4, max_ns=10**9, warmup_min_count=3)
    found = measure(board.run, ["a", "b", "c"], board.clock, plan, lambda phase: said.append((phase, len(board.fed))))
    assert board.fed == ["a", *"abc", *"abca"]
    assert said == [("first", 0), ("warmup", 1), ("timed", 4)]
    assert (found.first_output, found.last_output) == (1, 8)


@pytest.mark.parametrize("level", [0.01, 1.0, 50.0])
def test_judging_takes_no_time_from_any_inference(level: float) -> None:
    levels = alternating(level)
    found = timed(lambda _: next(levels), min_s=2.0, min_count=1)
    assert {*found.latencies_ns, *found.warmup_ns} <= {int(level * MS), int(level * 1.001 * MS)}


def test_feeds_of_several_sizes_are_judged_against_themselves() -> None:
    board = Board(lambda _: 0.0)
    board.run = lambda feed: board.__setattr__("now_ns", board.now_ns + int(feed))  # type: ignore[method-assign, func-returns-value, assignment]
    plan = Plan(min_ns=10**9, min_count=30, max_ns=10**11, warmup_min_count=3, is_mixed=True)
    feeds = [10 * MS * (1 + number % 16) for number in range(16)]
    found = measure(board.run, feeds, board.clock, plan, lambda _: None)
    assert found.judgement.is_steady is None
    longer = Plan(min_ns=6 * 10**9, min_count=30, max_ns=10**11, warmup_min_count=3, is_mixed=True)
    assert measure(board.run, feeds, board.clock, longer, lambda _: None).judgement.is_steady
