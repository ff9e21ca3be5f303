"""What a board keeps up, on virtual boards that warm up, throttle, or know no temperature."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from edgeopt_agent.arguments import Arguments
from edgeopt_agent.errors import AgentError
from edgeopt_agent.sustained import check, is_flat, sustain

MS = 1_000_000
MINUTE_NS = 60_000_000_000


class Board:
    """Its temperature and the time of an inference follow from how long it has worked, in minutes."""

    def __init__(self, celsius: Callable[[float], float | None], taken_ms: Callable[[float], float]) -> None:
        self.now_ns = self._begin_ns = 10**12
        self._celsius = celsius
        self._taken_ms = taken_ms

    def minutes(self) -> float:
        return (self.now_ns - self._begin_ns) / MINUTE_NS

    def clock(self) -> int:
        return self.now_ns

    def thermometer(self) -> float | None:
        return self._celsius(self.minutes())

    def run(self, _feed: str) -> str:
        self.now_ns += int(self._taken_ms(self.minutes()) * MS)
        return "answer"

    def sustained(self, minutes: float):
        return sustain(self.run, ["a", "b"], self.clock, self.thermometer, int(minutes * MINUTE_NS))


def test_a_board_that_warms_up_and_slows_is_followed_until_it_is_flat() -> None:
    """It approaches 75 degrees with a time constant of a minute, and throttles from 70 degrees on."""

    def celsius(minutes: float) -> float:
        return 75 - 35 * math.exp(-minutes)

    board = Board(lambda m: round(celsius(m) * 2) / 2, lambda m: 100.0 if celsius(m) < 70 else 125.0)
    found, output = board.sustained(30)
    assert output == "answer"
    assert found["ended"] == "flat"
    assert 3 < board.minutes() < 10
    assert (found["burst_ns"], found["sustained_ns"]) == (100 * MS, 125 * MS)
    assert len(found["windows"]) == pytest.approx(board.minutes() * 6, abs=1.5)
    assert found["windows"][0]["temperature_c"] < found["windows"][-1]["temperature_c"]


def test_without_a_thermometer_only_the_cap_ends_it() -> None:
    found, _ = Board(lambda _: None, lambda _: 50.0).sustained(5)
    assert found["ended"] == "limit"
    assert found["windows"][-1]["end_ns"] == pytest.approx(5 * MINUTE_NS, rel=0.001)
    assert sum(window["inferences"] for window in found["windows"]) == 6000


def test_the_level_is_of_the_last_minute() -> None:
    found, _ = Board(lambda _: None, lambda m: 10.0 if m < 2 else 20.0).sustained(3.2)
    assert (found["burst_ns"], found["sustained_ns"]) == (10 * MS, 20 * MS)


def test_one_inference_longer_than_everything_is_one_window() -> None:
    found, _ = Board(lambda _: 50.0, lambda _: 120_000.0).sustained(1)
    assert [window["inferences"] for window in found["windows"]] == [1]


@pytest.mark.parametrize(
    ("temperatures", "flat"),
    [
        ([50.0] * 11, False),
        ([50.0] * 12, True),
        ([40.0, *[50.0] * 12], True),
        ([50.0 + 0.1 * n for n in range(12)], False),
        ([50.0 - 0.1 * n for n in range(12)], False),
        ([50.0, 51.0] * 6, True),
        ([None] * 20, False),
        ([*[50.0] * 11, None], False),
    ],
)
def test_flat_is_less_than_a_fifth_of_a_degree_a_minute(temperatures: list[float | None], flat: bool) -> None:
    assert is_flat(temperatures) is flat


def test_the_cap_is_checked() -> None:
    assert check(Arguments({"max_s": 60})) == {"max_s": 60}
    with pytest.raises(AgentError):
        check(Arguments({"max_s": 0}))
