"""Steady or not, and where warm-up ends: rules over series that are simulated with a known truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent import steady

Shape = Callable[[Any, Any], Any]
"""(position in the series from 0 to 1, number of the inference) -> level."""

WARM: dict[str, Shape] = {
    "flat": lambda u, _: 1.0 + 0.0 * u,
    "three slow ones": lambda _, i: 1.0 + 2.0 * (i < 3),
    "exponential warm-up": lambda _, i: 1.0 + 0.5 * np.exp(-i / 15),
    "a fifth slower": lambda u, _: 1.0 + 0.3 * (u < 0.2),
}
MOVING: dict[str, Shape] = {
    **{f"throttled at {at:.0%}": lambda u, _, at=at: 1.0 + 0.15 * (u >= at) for at in (0.1, 0.25, 0.5, 0.75, 0.9)},
    "rising by 15 %": lambda u, _: 1.0 + 0.15 * u,
    "falling by 15 %": lambda u, _: 1.15 - 0.15 * u,
    "faster after three quarters": lambda u, _: 1.15 - 0.15 * (u > 0.75),
    "throttled after warm-up": lambda u, i: 1.0 + 2.0 * (i < 10) + 0.15 * (u > 0.6),
}
SERIES = 200


def simulate(shape: Shape, *, count: int, noise: float, memory: float, seed: int) -> list[int]:
    """Return a series in ns: `shape` at 10 ms, with lognormal noise whose neighbours are correlated by `memory`."""
    random = np.random.default_rng(seed)
    shocks = random.normal(0, noise * np.sqrt(1 - memory**2), count)
    level = random.normal(0, noise)
    walk = []
    for shock in shocks:
        level = memory * level + shock
        walk.append(level)
    number = np.arange(count)
    return (1e7 * shape(number / count, number) * np.exp(walk)).astype(np.int64).tolist()


def share_steady(shape: Shape, *, count: int = 300, noise: float = 0.01, memory: float = 0.8) -> float:
    found = [
        steady.judge(simulate(shape, count=count, noise=noise, memory=memory, seed=seed)).is_steady
        for seed in range(SERIES)
    ]
    return found.count(True) / SERIES


@pytest.mark.parametrize("name", WARM)
@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_less_than_two_percent_of_steady_series_are_refused(name: str, memory: float) -> None:
    """Or five, where the end of a warm-up cannot quite be told: a refusal asks for a quarter more inferences, it is no flag yet."""
    assert share_steady(WARM[name], memory=memory) > (0.95 if name == "exponential warm-up" else 0.98)


@pytest.mark.parametrize(("count", "most"), [(120, 0.6), (300, 0.1), (1000, 0.0)])
def test_a_warm_up_that_takes_much_longer_than_the_series_does_not_look_steady_in_most(count: int, most: float) -> None:
    """Its end falls too short a way to matter by itself: what tells is that it falls nearly as fast as the whole."""
    assert share_steady(lambda _, i: 1.0 + 0.5 * np.exp(-i / 800), memory=0.5, count=count) <= most


@pytest.mark.parametrize(("count", "noise"), [(24, 0.01), (60, 0.01), (300, 0.05), (1000, 0.05)])
def test_short_and_noisy_steady_series_pass_too(count: int, noise: float) -> None:
    assert share_steady(WARM["flat"], count=count, noise=noise, memory=0.0) > 0.98


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_every_series_that_moves_by_15_percent_is_refused(name: str, memory: float) -> None:
    assert share_steady(MOVING[name], memory=memory) == 0


@pytest.mark.parametrize(
    ("name", "words", "is_final"),
    [
        ("throttled at 50%", "slower after 150 of 300", True),
        ("rising by 15 %", "rising", False),
        ("falling by 15 %", "falling", False),
        ("faster after three quarters", "faster after 225 of 300", False),
    ],
)
def test_the_reason_says_what_moved_and_whether_waiting_can_help(name: str, words: str, is_final: bool) -> None:
    quiet = simulate(MOVING[name], count=300, noise=0.001, memory=0.0, seed=1)
    found = steady.judge(quiet)
    assert found.is_steady is False
    assert words in (found.reason or "")
    assert (found.cut, found.is_final) == (0, is_final)


def test_what_is_cut_is_the_warm_up() -> None:
    found = steady.judge(simulate(WARM["a fifth slower"], count=300, noise=0.01, memory=0.0, seed=2))
    assert found.is_steady
    assert 60 <= found.cut <= 75


@given(st.lists(st.integers(1, 10**12), max_size=steady.MIN_COUNT - 1))
def test_a_short_series_is_not_judged_and_says_so(series: list[int]) -> None:
    found = steady.judge(series)
    assert (found.is_steady, found.cut) == (None, 0)
    assert "too few" in (found.reason or "")


@given(st.lists(st.integers(1, 10**12), min_size=steady.MIN_COUNT, max_size=400))
def test_at_most_half_is_cut_and_only_a_steady_series_has_no_reason(series: list[int]) -> None:
    found = steady.judge(series)
    assert 0 <= found.cut <= len(series) / 2
    assert (found.is_steady is True) == (found.reason is None)
    assert found.is_steady is not None


@given(st.integers(1, 10**9), st.integers(steady.MIN_COUNT, 3000))
def test_a_constant_series_is_steady(value: int, count: int) -> None:
    assert steady.judge([value] * count).is_steady


@given(st.lists(st.integers(1, 10**6), min_size=steady.MIN_COUNT, max_size=200), st.integers(2, 1000))
def test_the_unit_does_not_matter(series: list[int], factor: int) -> None:
    a, b = steady.judge(series), steady.judge([value * factor for value in series])
    assert (a.is_steady, a.cut, a.is_final) == (b.is_steady, b.cut, b.is_final)


@given(st.lists(st.floats(0.5, 2.0), min_size=4, max_size=60))
def test_mser_finds_the_cut_that_the_definition_names(batches: list[float]) -> None:
    def error(cut: int) -> float:
        rest = np.array(batches[cut:])
        return float(rest.var() / len(rest))

    cut, is_edge = steady.mser(batches)
    lowest = min(error(number) for number in range(len(batches) // 2 + 1))
    assert error(cut) == pytest.approx(lowest, abs=1e-12)
    assert is_edge == (cut == len(batches) // 2)


@pytest.mark.parametrize("count", [24, 25, 59, 60, 119, 120, 121, 1000, 12345, 10**6])
def test_batches_cover_the_series_and_are_bounded_in_number(count: int) -> None:
    size = steady.batch_size(count)
    assert 24 <= count // size <= 120
    assert size * (count // size) > count - size


class TestInputsOfSeveralSizes:
    SIZES = np.linspace(1.0, 4.0, 32)

    def series(self, turns: float, shape: Shape = WARM["flat"], seed: int = 3) -> list[int]:
        count = int(32 * turns)
        plain = simulate(shape, count=count, noise=0.01, memory=0.0, seed=seed)
        return [int(value * self.SIZES[number % 32]) for number, value in enumerate(plain)]

    @pytest.mark.parametrize("turns", [4, 4.5, 7.3, 40])
    def test_they_are_steady_whatever_their_order(self, turns: float) -> None:
        assert steady.judge(self.series(turns), 32).is_steady

    @pytest.mark.parametrize("name", ["throttled at 50%", "rising by 15 %", "throttled at 75%"])
    def test_a_board_that_moves_is_still_seen(self, name: str) -> None:
        found = [steady.judge(self.series(10, MOVING[name], seed), 32).is_steady for seed in range(50)]
        assert found == [False] * 50

    def test_fewer_than_four_turns_are_too_few_to_tell(self) -> None:
        found = steady.judge(self.series(3.9), 32)
        assert found.is_steady is None
        assert "several sizes" in (found.reason or "")
