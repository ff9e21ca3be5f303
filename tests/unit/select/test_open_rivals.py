"""What a disturbance hid does not make the rest win by default."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import MeasurePlan, Run
from edgeopt.select.pick import choose
from edgeopt.select.summarise import summarise
from tests.builders import make_check, make_failure, make_fidelity, make_run

QUOTA = ("throttled-by-quota",)
ALL, MOST = dict.fromkeys(range(8), QUOTA), dict.fromkeys(range(6), QUOTA)
NEVER_CLEAN = {"int8@all": "none of its blocks in 6 rounds was undisturbed, so it was not measured further"}


def pick_from(run: Run, **goal: Any) -> Pick:
    return choose(run, Goal(**goal), summarise(run))


def of(pick: Pick) -> tuple[str, str | None]:
    return pick.status, pick.candidate


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": {"int8": ALL}},
        {"flags": {"int8": MOST}},
        {"flags": {"int8": ALL}, "dropped_early": NEVER_CLEAN},
        {"output_checks": (make_check("int8", failure=make_failure("lost", "first", "the cable")),)},
        {"flags": {"int8": dict.fromkeys(range(4), QUOTA), "original": dict.fromkeys(range(4, 8), QUOTA)}},
    ],
    ids=["never clean", "mostly disturbed", "given up", "the link was lost", "no round in common"],
)
def test_one_that_looked_faster_and_was_not_measured_well_leaves_the_answer_open(changes: dict[str, Any]) -> None:
    pick = pick_from(make_run({"original": 10.0, "int8": 5.0}, **changes))

    assert of(pick) == ("inconclusive", None)
    assert "int8@all may be better than original@all" in pick.reason
    told = {loser.name: loser.reason for loser in pick.losers}
    assert told.keys() == {"int8@all", "original@all"}
    assert "int8@all" in told["original@all"]


def test_the_original_may_be_the_one_that_was_hidden() -> None:
    pick = pick_from(make_run({"original": 10.0, "int8": 20.0}, flags={"original": ALL}))

    assert pick.status == "inconclusive"


@pytest.mark.parametrize(
    ("levels", "changes"),
    [
        ({"original": 10.0, "int8": 15.0}, {"flags": {"int8": ALL}}),
        ({"original": 10.0, "int8": 9.9}, {"flags": {"int8": ALL}}),
        (
            {"original": 10.0, "int8": [9.0, 13.0] * 4},
            {"dropped_early": {"int8@all": "over 4 rounds it took 1.1 times"}},
        ),
        ({"original": 10.0, "int8": 5.0}, {"flags": {"int8": ALL}, "agreements": {"int8": make_fidelity(0.5, 0.4)}}),
        ({"original": 10.0, "int8": 5.0}, {"failures": {"int8": {0: make_failure()}}}),
        (
            {"original": 10.0, "int8": 5.0},
            {"flags": {"int8": MOST}, "plan": MeasurePlan(rounds=8, accept_disturbed=True)},
        ),
    ],
    ids=["slower even at best", "a tie at best", "the race decided", "agrees too little", "it failed", "as it is"],
)
def test_one_that_cannot_win_leaves_nothing_open(levels: dict[str, Any], changes: dict[str, Any]) -> None:
    assert pick_from(make_run(levels, **changes), min_agreement=0.9).status == "picked"


@pytest.mark.parametrize(
    ("goal", "status"),
    [
        ({"objective": "memory"}, "picked"),
        ({"objective": "size"}, "inconclusive"),
        ({"weights": {"memory": 1.0}}, "picked"),
        ({"weights": {"latency": 0.5, "memory": 0.5}}, "inconclusive"),
    ],
)
def test_what_counts_is_what_the_goal_asks_for(goal: dict[str, Any], status: str) -> None:
    """It is faster and smaller on disk, and needs more memory."""
    run = make_run(
        {"original": 10.0, "int8": 5.0},
        flags={"int8": ALL},
        peaks={"original": 80_000_000, "int8": 90_000_000},
        sizes={"original": 4_000_000, "int8": 1_000_000},
    )
    assert pick_from(run, **goal).status == status


def test_without_a_single_block_anything_is_possible() -> None:
    lost = {"int8": dict.fromkeys(range(8), make_failure("lost"))}

    assert pick_from(make_run(failures=lost)).status == "inconclusive"
