"""Pick again from a saved run, with other limits and no device."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeopt.domain.goal import Goal, overridden
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.profiles.decode import decode
from edgeopt.profiles.places import Places
from edgeopt.select.blocks import accepting_disturbed
from edgeopt.select.pick import choose
from edgeopt.select.summarise import summarise
from edgeopt.store.results import ResultsStore


def repick(name: str, overrides: dict[str, Any], places: Places, *, accept_disturbed: bool = False) -> tuple[Run, Pick]:
    """Load a run by name, the beginning of its name, or `last`, and choose again. `accept_disturbed`: blocks that others disturbed count, too; the run that is returned says so.

    Raises:
        UnknownName, RunUnreadable, ConfigError.
    """
    run = ResultsStore(places.database_url, places.runs).load_run(name)
    if accept_disturbed:
        run = accepting_disturbed(run)
    goal = decode(overridden(msgspec.to_builtins(run.goal), overrides), Goal, source="the goal")
    return run, choose(run, goal, summarise(run))
