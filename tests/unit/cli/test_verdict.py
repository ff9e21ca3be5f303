"""What a user is told to do when nothing was picked."""

from __future__ import annotations

import pytest

from edgeopt.cli.deploy import verdict
from edgeopt.errors import EdgeoptError, GoalNotMet, Inconclusive
from tests.builders import make_pick, make_summary


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"verdict": "inconclusive"}, "Quieten the board"),
        ({"p50_ms": None, "verdict": "contaminated"}, "Quieten the board"),
        ({"p50_ms": None, "verdict": "inconclusive"}, "More rounds change nothing"),
    ],
    ids=["measured", "only disturbed blocks", "nothing ran"],
)
def test_an_inconclusive_measurement(changes: dict[str, object], advice: str) -> None:
    """Disturbed blocks can be taken again; what did not run at all does not run in more rounds either."""
    pick = make_pick(make_summary(**changes), candidate=None, variant=None, status="inconclusive", reason="too few")
    with pytest.raises(Inconclusive, match="too few") as told:
        verdict(pick, "run", told=False)
    assert advice in hint_of(told.value)
    assert ("edgeopt pick run --accept-disturbed" in hint_of(told.value)) == (advice == "Quieten the board")


def test_limits_that_nothing_meets() -> None:
    """Other limits need no board: the saved run is picked from again."""
    pick = make_pick(make_summary(), candidate=None, variant=None, status="goal-not-met", reason="too slow")
    with pytest.raises(GoalNotMet, match="too slow") as told:
        verdict(pick, "a-run", told=False)
    assert "edgeopt pick a-run" in hint_of(told.value)


def hint_of(error: EdgeoptError) -> str:
    assert error.hint is not None
    return error.hint
