"""Another pick from a saved run, with no device."""

from __future__ import annotations

from pathlib import Path

from edgeopt.domain.goal import Goal
from edgeopt.flows.repick import repick
from edgeopt.profiles.places import Places
from edgeopt.select.pick import choose
from edgeopt.select.summarise import summarise
from edgeopt.store.results import ResultsStore
from tests.builders import make_run


def test_a_run_that_others_disturbed_is_ranked_when_that_is_accepted(tmp_path: Path) -> None:
    """What is saved stays as it was."""
    places = Places(config=tmp_path, data=tmp_path, cache=tmp_path)
    noisy = dict.fromkeys(range(8), ("foreign-load",))
    run = make_run(flags={"original": noisy, "int8": noisy})
    ResultsStore(places.database_url, places.runs).save_run(run, choose(run, Goal(), summarise(run)))

    _, pick = repick(run.id, {}, places)
    assert pick.status == "inconclusive"
    accepted, pick = repick(run.id, {}, places, accept_disturbed=True)
    assert accepted.plan.accept_disturbed
    assert pick.variant == "int8"
    assert repick(run.id, {}, places)[1].status == "inconclusive"
