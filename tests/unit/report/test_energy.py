"""What people read of energy."""

from __future__ import annotations

import msgspec

from edgeopt.domain.energy import Energy, Figure
from edgeopt.report.energy import energy_lines
from tests.builders import NO_SENSOR, make_pick, make_run, make_summary
from tests.unit.select.powered import SENSOR

ENERGY = Energy(
    sensor="ina3221",
    grade="B",
    covers=SENSOR.total_rule,
    windows=3,
    invalid=0,
    net_mj=Figure(value=300.0, low=290.0, high=310.0),
    gross_mj=Figure(value=500.0, low=None, high=None),
    idle_w=2.0,
    load_w=5.0,
)
RUN = msgspec.structs.replace(make_run(), energy_sensor=SENSOR, energy_reason="")


def lines(energy: Energy, *, note: str | None = None) -> tuple[str, ...]:
    summary = make_summary(energy_mj=energy.net_mj.value, energy=energy)
    return energy_lines(RUN, msgspec.structs.replace(make_pick(summary), energy_note=note))


def test_sensor_class_and_what_it_covers_stand_above_the_figures() -> None:
    head, told = lines(ENERGY)
    assert "ina3221 (class B): the VDD_IN rail, the whole input of the module" in head
    assert "net 300.0 (290.0..310.0) mJ; gross 500.0 mJ; 5.000 W at work, 2.000 W at rest" in told


def test_an_estimate_of_the_whole_board_and_invalid_windows_are_named() -> None:
    energy = msgspec.structs.replace(
        ENERGY, board_net_mj=Figure(value=343.5, low=300.0, high=390.0), invalid=1, reasons={"invalid": "a gap"}
    )
    told = lines(energy)[1]
    assert "whole board (estimated) net 343.5 (300.0..390.0) mJ" in told
    assert "1 of 4 windows invalid (a gap)" in told


def test_that_energy_tells_no_more_than_latency_is_said_last() -> None:
    assert lines(ENERGY, note="the same power")[-1] == "  the same power"


def test_no_sensor_is_one_sentence() -> None:
    assert energy_lines(make_run(), make_pick()) == (f"energy: not measured ({NO_SENSOR})",)


def test_windows_without_a_valid_one_say_why() -> None:
    pick = make_pick(make_summary(reasons={"energy_mj": "no window was valid: a gap"}))
    assert energy_lines(RUN, pick) == ("energy: not measured (no window was valid: a gap)",)
