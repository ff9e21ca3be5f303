"""Two levels are told from one: every series with two, hardly any with one, and they are shown instead of a number between them."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.goal import Goal
from edgeopt.select.blocks import flags_of
from edgeopt.select.pick import choose
from edgeopt.select.regimes import FEWEST_VALUES, two_levels
from edgeopt.select.summarise import summarise
from tests.builders import make_block, make_candidate, make_run

Draw = Callable[[random.Random], float]
ONE_LEVEL: dict[str, Draw] = {
    "quiet": lambda r: 10 * (1 + r.gauss(0, 0.01)),
    "noisy": lambda r: 10 * 1.2 ** r.gauss(0, 1),
    "a long tail": lambda r: 10 * (1 + r.expovariate(5)),
    "anything in a range": lambda r: r.uniform(8, 12),
    "a few stalls": lambda r: 10 * (1 + r.gauss(0, 0.01)) * (3 if r.random() < 0.03 else 1),
}


def series(draw: Draw, count: int, seed: int) -> tuple[float, ...]:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    return tuple(draw(rng) for _ in range(count))


@pytest.mark.parametrize("name", ONE_LEVEL)
@pytest.mark.parametrize("count", [12, 24, 100])
def test_less_than_two_percent_of_series_with_one_level_are_split(name: str, count: int) -> None:
    tries = 1000
    split = sum(two_levels(series(ONE_LEVEL[name], count, seed)) is not None for seed in range(tries))
    assert split / tries < 0.02


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("count", [100, 3000])
def test_two_levels_are_found_with_their_shares(share: float, count: int) -> None:
    def draw(r: random.Random) -> float:
        return 10 * (1 + r.gauss(0, 0.01)) * (1.2 if r.random() < share else 1)

    for seed in range(10):
        found = two_levels(series(draw, count, seed))
        assert found is not None
        low, high = found
        assert (low.level, high.level) == pytest.approx((10, 12), rel=0.01)
        assert low.share + high.share == pytest.approx(1)
        assert high.share == pytest.approx(share, abs=0.16)


def test_levels_closer_than_five_percent_are_one() -> None:
    assert two_levels((10.0, 10.4) * 50) is None
    assert two_levels((10.0, 10.6) * 50) is not None


@given(st.lists(st.floats(0, 1e9), max_size=60), st.integers(0, 9))
def test_any_series_is_answered_and_the_order_does_not_matter(values: list[float], seed: int) -> None:
    shuffled = values[:]
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - a simulation
    found = two_levels(tuple(values))
    assert two_levels(tuple(shuffled)) == found
    assert found is None or len(values) >= FEWEST_VALUES


def test_blocks_at_two_levels_have_no_p50_and_are_not_picked() -> None:
    run = make_run({"original": 20.0, "int8": [10.0, 10.1, 13.0, 13.1] * 3}, rounds=12)
    original, int8 = summarise(run)
    assert original.regimes == ()
    assert int8.p50_ms is None
    assert [round(part.level, 1) for part in int8.regimes] == pytest.approx([10.0, 13.1], abs=0.1)
    assert "two levels" in int8.reasons["p50_ms"]
    assert int8.verdict == "inconclusive"
    assert choose(run, Goal(), (original, int8)).status == "inconclusive"


def test_a_user_who_accepts_disturbed_blocks_gets_a_number_nevertheless() -> None:
    run = make_run({"original": [10.0, 13.0] * 6}, rounds=12)
    accepting = make_run(
        {"original": [10.0, 13.0] * 6}, rounds=12, plan=type(run.plan)(rounds=12, accept_disturbed=True)
    )
    assert summarise(run)[0].p50_ms is None
    assert summarise(accepting)[0].p50_ms is not None


def test_blocks_with_two_levels_inside_are_contaminated_and_shown() -> None:
    blocks = tuple(make_block("original@all", number, (10.0, 12.0, 10.1) * 20) for number in range(8))
    run = make_run({"original": 1.0}, blocks=blocks, candidates=(make_candidate("original"),))
    (summary,) = summarise(run)
    assert summary.verdict == "contaminated"
    assert "8 two-levels" in summary.reasons["verdict"]
    assert summary.flags == ("two-levels",)
    assert [part.level for part in summary.regimes] == pytest.approx([10.05, 12.0], rel=0.01)
    assert [part.share for part in summary.regimes] == pytest.approx([2 / 3, 1 / 3])


def test_one_block_with_two_levels_among_many_is_only_left_out() -> None:
    run = make_run({"original": 10.0})
    odd = make_block("original@all", 8, (10.0, 12.0) * 20)
    (summary,) = summarise(make_run({"original": 10.0}, blocks=(*run.blocks, odd)))
    assert (summary.flagged_blocks, summary.regimes, summary.verdict) == (1, (), "trusted")


def test_inputs_that_cost_more_are_no_second_level() -> None:
    latencies = (10.0, 20.0, 10.1, 10.0) * 20
    block = make_block("original@all", 0, latencies)
    assert flags_of(block) == ("two-levels",)
    assert flags_of(msgspec.structs.replace(block, feeds=4)) == ()
    assert flags_of(msgspec.structs.replace(block, feeds=0)) == ()
    assert flags_of(msgspec.structs.replace(block, feeds=40)) == ()
    switching = make_block("original@all", 0, (*latencies[:20], *(1.3 * ms for ms in latencies[:20])), feeds=4)
    assert flags_of(switching) == ("two-levels",)


def test_a_clock_that_says_nothing_has_no_levels() -> None:
    assert flags_of(make_block("original@all", 0, (0.0,) * 40, feeds=2)) == ()
