"""Races on simulated devices, from the first block to the pick, through the real code."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeopt.domain.goal import Goal
from edgeopt.domain.observer import Silent
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import MeasurePlan, Run
from edgeopt.measure.rounds import Bench, measure_candidates
from edgeopt.select.pick import choose
from edgeopt.select.race import Race
from edgeopt.select.rounds import round_order
from edgeopt.select.summarise import summarise
from tests.builders import make_run
from tests.fakes.simulated_device import SimulatedDevice

GOAL = Goal(min_agreement=None)


class Trial(msgspec.Struct):
    """A run on a simulated device and the pick from it."""

    run: Run
    pick: Pick

    @property
    def block_s(self) -> float:
        """Seconds of the device in blocks."""
        return sum(block.wall_ns or 0 for block in self.run.blocks) / 1e9


def race(device: SimulatedDevice, levels_ms: Mapping[str, float], plan: MeasurePlan, goal: Goal = GOAL) -> Trial:
    """Measure, summarise and choose as `edgeopt bench` does."""
    run = make_run(dict.fromkeys(levels_ms, 1.0), rounds=0, plan=plan, goal=goal)
    bench = Bench(
        device, plan, models={name: name for name in levels_ms}, inputs="samples", sites={"onnxruntime": None}
    )  # type: ignore[arg-type]
    measured = measure_candidates(
        bench,
        run.candidates,
        order=round_order,
        judge=Race(run, goal).after_round,
        observer=Silent(),
        clock=device.clock_s,
    )
    run = msgspec.structs.replace(run, blocks=measured.blocks, dropped_early=measured.dropped, stopped=measured.stopped)
    return Trial(run, choose(run, goal, summarise(run)))
