"""Devices of which the truth is known, through the real loop, rounds, race and pick. `benchmarks/measuring/simulate.py` has the figures; these few must never be missed."""

from __future__ import annotations

import msgspec
import pytest

from edgeopt.domain.goal import Goal
from edgeopt.domain.observer import Silent
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import MeasurePlan, Run
from edgeopt.measure.rounds import Bench, measure_candidates
from edgeopt.select.blocks import is_flagged
from edgeopt.select.pick import choose
from edgeopt.select.race import Race
from edgeopt.select.rounds import round_order
from edgeopt.select.summarise import summarise
from tests.builders import make_run
from tests.fakes.simulated_device import Disturbance, SimulatedDevice

SPREAD = dict(zip(("original", *"abcdefg"), (22.0, 10.0, 11.0, 12.5, 15.0, 18.0, 28.0, 35.0), strict=True))


def measured(device: SimulatedDevice, levels: dict[str, float], plan: MeasurePlan) -> tuple[Run, Pick]:
    goal = Goal(min_agreement=None)
    run = make_run(dict.fromkeys(levels, 1.0), rounds=0, plan=plan, goal=goal)
    bench = Bench(device, plan, models={name: name for name in levels}, inputs="samples", sites={"onnxruntime": None})  # type: ignore[arg-type]
    judge = Race(run, goal).after_round
    found = measure_candidates(
        bench, run.candidates, order=round_order, judge=judge, observer=Silent(), clock=device.clock_s
    )
    run = msgspec.structs.replace(run, blocks=found.blocks, dropped_early=found.dropped, stopped=found.stopped)
    return run, choose(run, goal, summarise(run))


@pytest.mark.parametrize("seed", range(5))
def test_a_race_finds_the_best_for_a_third_of_the_blocks_of_twelve_rounds(seed: int) -> None:
    run, pick = measured(SimulatedDevice(SPREAD, seed=seed), SPREAD, MeasurePlan())
    assert pick.variant == "a"
    assert len(run.blocks) <= len(SPREAD) * 12 / 3


def test_the_budget_of_a_race_is_kept_in_the_time_of_the_device() -> None:
    device = SimulatedDevice(SPREAD, seed=1)
    run, _ = measured(device, SPREAD, MeasurePlan(budget_s=20.0))
    assert device.clock_s() <= 20.0
    assert run.stopped == "the budget of 20 s was used up"


@pytest.mark.parametrize("kind", ["throttled", "ramp", "two levels"])
@pytest.mark.parametrize("seed", range(3))
def test_a_disturbed_series_is_flagged(kind: Disturbance, seed: int) -> None:
    levels = {"original": 10.0}
    run, _ = measured(SimulatedDevice(levels, seed=seed, disturbance=kind), levels, MeasurePlan(rounds=1))
    assert is_flagged(run.blocks[0])


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_series_is_not_flagged_and_near_the_truth(seed: int) -> None:
    device = SimulatedDevice({"original": 10.0}, seed=seed)
    run, _ = measured(device, {"original": 10.0}, MeasurePlan(rounds=1))
    assert not is_flagged(run.blocks[0])
    assert sorted(run.blocks[0].latencies_ns)[len(run.blocks[0].latencies_ns) // 2] / 1e6 == pytest.approx(
        device.true_ms, rel=0.01
    )


def test_a_board_that_is_disturbed_in_every_block_gets_no_pick() -> None:
    device = SimulatedDevice(SPREAD, seed=0, disturbance="throttled")
    run, pick = measured(device, SPREAD, MeasurePlan())
    assert pick.status == "inconclusive"
    assert max(block.round for block in run.blocks) == 5
