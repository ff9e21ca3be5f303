"""Energy windows of several candidates, in rounds, with an agent that is played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from edgeopt.domain.energy import EnergyWindow
from edgeopt.domain.observer import Silent
from edgeopt.domain.run import Candidate, MeasurePlan
from edgeopt.measure.energy import measure_energy, window_from_reply
from edgeopt.measure.rounds import Bench
from tests.builders import make_candidate
from tests.unit.select.powered import SENSOR

OK = {
    "status": "ok",
    "inferences": 50,
    "idle_before_ns": [0, 5],
    "load_window_ns": [6, 16],
    "idle_after_ns": [17, 22],
    "rails": ["VDD_IN", "VDD_SOC"],
    "period_s": 0.1,
    "samples": [[0, [5.0, None]], [22, [5.0, 1.0]]],
    "flags": ["major-faults"],
    "load_ns": 77,
}
FAILED = {"status": "failed", "failure": {"kind": "memory", "phase": "load", "detail": "MemoryError"}, "flags": []}


class Agent:
    """Answers energy blocks; `answers` by variant, `OK` for the others."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.device = msgspec.defstruct("Named", [("name", str)])(name="bench")
        self.jobs: list[dict[str, Any]] = []
        self.limits: list[float] = []
        self._answers = answers

    def call(self, verb: str, job: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        assert verb == "block"
        self.jobs.append(job)
        self.limits.append(timeout_s)
        return self._answers.get(job["model"], OK)


def measure(agent: Agent, *names: str, drop: Any = lambda _w, _c: (), sensor: Any = SENSOR, **plan: Any) -> Any:
    candidates = [make_candidate(name) for name in names]
    bench = Bench(
        agent, MeasurePlan(**plan), models={name: name for name in names}, inputs="/x.npz", sites={"onnxruntime": None}
    )  # type: ignore[arg-type]

    def order(ids: Sequence[str], seed: int, number: int) -> Sequence[str]:
        return sorted(ids, reverse=bool(number % 2))

    return measure_energy(bench, candidates, sensor, order=order, drop=drop, observer=Silent())


def test_every_candidate_has_a_window_in_every_round_in_that_rounds_order() -> None:
    windows = measure(Agent(), "a", "b", energy_rounds=2)
    assert [(w.round, w.position, w.candidate) for w in windows] == [
        (0, 0, "a@all"),
        (0, 1, "b@all"),
        (1, 0, "b@all"),
        (1, 1, "a@all"),
    ]


def test_the_job_says_how_long_and_by_which_sensor() -> None:
    agent = Agent()
    measure(agent, "a", energy_rounds=1, energy_load_s=10, energy_idle_s=5)
    (job,) = agent.jobs
    assert (job["mode"], job["sensor"], job["idle_s"], job["min_s"], job["min_inferences"]) == (
        "energy",
        "ina3221",
        5,
        10,
        50,
    )
    assert job["max_s"] > job["min_s"]
    assert agent.limits[0] > job["timeout_s"] + 2 * job["idle_s"] > job["max_s"]


@pytest.mark.parametrize(("changes", "idle_s", "load_s"), [({"period_s": 1.0}, 10, 100), ({"grade": "D"}, 5, 60)])
def test_slow_sensors_get_longer_windows(changes: dict[str, Any], idle_s: float, load_s: float) -> None:
    agent = Agent()
    measure(agent, "a", energy_rounds=1, sensor=msgspec.structs.replace(SENSOR, **changes))
    assert (agent.jobs[0]["idle_s"], agent.jobs[0]["min_s"]) == (idle_s, load_s)


def test_who_fails_or_is_dropped_has_no_more_windows() -> None:
    def drop(windows: Sequence[EnergyWindow], candidates: Sequence[Candidate]) -> Sequence[str]:
        return ["b@all"] if any(c.id == "b@all" for c in candidates) else []

    windows = measure(Agent(c=FAILED), "a", "b", "c", drop=drop, energy_rounds=3)
    assert [w.candidate for w in windows] == ["a@all", "b@all", "c@all", "a@all", "a@all"]
    assert measure(Agent(a=FAILED), "a", energy_rounds=3)[-1].round == 0


def test_raw_samples_and_times_are_kept() -> None:
    window = window_from_reply(OK, candidate="a@all", number=2, position=1)
    assert window.samples == ((0, (5.0, None)), (22, (5.0, 1.0)))
    assert (window.idle_before_ns, window.load_ns, window.idle_after_ns) == ((0, 5), (6, 16), (17, 22))
    assert (window.inferences, window.flags, window.failure) == (50, ("major-faults",), None)


def test_a_failed_load_says_why_it_has_no_samples() -> None:
    window = window_from_reply(FAILED, candidate="a@all", number=0, position=0)
    assert (window.failure, window.samples) == ("memory: MemoryError", ())
