"""Rounds over a device: the judge's word is kept, the budget is hard, and a run says why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeopt.domain.device import Device
from edgeopt.domain.observer import Silent
from edgeopt.domain.race import Decision
from edgeopt.domain.run import Block, Candidate, MeasurePlan
from edgeopt.measure.rounds import Bench, Measured, measure_candidates
from tests.builders import make_candidate

BLOCK_S = 10.0


class Board:
    """Answers each block after ten virtual seconds; candidates of `broken` fail."""

    device = Device(name="kitchen", profile="pi4", address="ssh://pi@kitchen.local")

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.now = 0.0
        self.broken = broken

    def call(self, verb: str, job: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert (verb, timeout_s > 0) == ("block", True)
        self.now += BLOCK_S
        if job["model"] in self.broken:
            return {"status": "failed", "failure": {"kind": "error", "phase": "load", "detail": "no"}}
        return {"status": "ok", "latencies_ns": [1, 2, 3]}


def measured(judge: Any, names: Sequence[str] = "ab", broken: Sequence[str] = (), **plan: Any) -> Measured:
    board = Board(broken)
    bench = Bench(
        board, MeasurePlan(**plan), models={name: name for name in names}, inputs="i", sites={"onnxruntime": None}
    )  # type: ignore[arg-type]
    candidates = [make_candidate(name) for name in names]
    return measure_candidates(
        bench,
        candidates,
        order=lambda ids, _seed, _round: ids,
        judge=judge,
        observer=Silent(),
        clock=lambda: board.now,
    )


def never(blocks: Sequence[Block], alive: Sequence[Candidate]) -> Decision:
    return Decision(stopped=None if alive else "nobody is left")


def after(rounds: int, first: Decision) -> Any:
    """`first` after the first round, nothing else, the end after so many."""

    def judge(blocks: Sequence[Block], _alive: Sequence[Candidate]) -> Decision:
        done = blocks[-1].round + 1
        if done == rounds:
            return Decision(resting=first.resting, stopped="enough")
        return first if done == 1 else Decision(resting=first.resting)

    return judge


def ran(found: Measured) -> list[tuple[str, int]]:
    return [(block.candidate, block.round) for block in found.blocks]


def test_rounds_go_on_until_the_judge_ends_them() -> None:
    found = measured(after(2, Decision()))
    assert ran(found) == [("a@all", 0), ("b@all", 0), ("a@all", 1), ("b@all", 1)]
    assert found.stopped == "enough"


def test_who_is_dropped_or_rests_is_not_measured() -> None:
    found = measured(after(3, Decision(dropped={"a@all": "slow"}, resting=("b@all",))), "abc")
    assert [name for name, number in ran(found) if number] == ["c@all", "c@all"]
    assert found.dropped == {"a@all": "slow"}


def test_what_fails_twice_is_left_out() -> None:
    found = measured(after(4, Decision()), "ab", broken=["b"])
    assert [name for name, _ in ran(found)].count("b@all") == 2
    assert "b@all" not in found.dropped


def test_a_budget_is_never_exceeded_and_the_run_says_so() -> None:
    found = measured(never, "abc", budget_s=45.0)
    assert ran(found) == [("a@all", 0), ("b@all", 0), ("c@all", 0), ("a@all", 1)]
    assert found.stopped == "the budget of 45 s was used up"


def test_a_judge_that_ends_it_in_time_has_the_last_word() -> None:
    assert measured(after(1, Decision(stopped="enough")), "a", budget_s=10.0).stopped == "enough"


def test_nobody_to_measure_is_an_end_and_not_an_error() -> None:
    assert measured(never, "").stopped == "there is no candidate to measure"
