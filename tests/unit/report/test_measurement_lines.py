"""What stands below the table about how it was measured."""

from __future__ import annotations

from edgeopt.domain.pick import Regime
from edgeopt.report.measurement import measurement_lines
from tests.builders import make_pick, make_run, make_summary


def test_levels_the_end_and_the_price_of_more_are_told() -> None:
    regimes = (Regime(level=10.0, share=0.6), Regime(level=13.0, share=0.4))
    pick = make_pick(make_summary(regimes=regimes, p50_ms=None), make_summary("original"), more_time="9 rounds")
    lines = list(measurement_lines(make_run(stopped="int8@all is ahead of all others"), pick))
    assert lines == [
        "two levels: int8@all switches between 10.00 ms (60.00 %) and 13.00 ms (40.00 %)",
        "rounds ended: int8@all is ahead of all others",
        "more time: 9 rounds",
    ]


def test_an_older_run_tells_nothing_of_its_end() -> None:
    assert list(measurement_lines(make_run(), make_pick())) == []
