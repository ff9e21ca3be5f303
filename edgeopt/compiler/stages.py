"""Where in a recipe work is kept, and under which name, so that what recipes have in common is made once. Pure.

A recipe is a chain of steps. The name of what comes out behind a step is a digest of the name before it, the step, its options and whatever else the step reads:
two recipes, encodings or profiles that agree up to a step have one name for what comes out of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.compiler.plan import Pins
from edgeopt.domain.variant import Step

KEPT = frozenset({"same_answers", "prune", "drop_layers", "recover", "calibrate", "leave_float", "train_int8"})
"""Steps whose results are worth keeping: the tidy graph that was found to answer as the original does, and what samples and minutes went into."""

WITHOUT_SAMPLES = frozenset({"clean", "keep", "float32", "upgrade_opset"})
"""Steps that do not look at samples. All others are taken to."""

WITHOUT_PINS = KEPT | {"clean", "float32"}
"""Steps that do not care what the board's runtime reads. All others are taken to."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a recipe at which work is kept: behind how many of its steps, and under which name (sha256 in hex)."""

    after: int
    key: str


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that several chains go through, made by itself before them. `needs` is the rung that it starts from."""

    stage: Stage
    users: tuple[str, ...]
    needs: str | None


def stages_of(steps: Sequence[Step], *, start: str, pins: Pins, samples: str | None) -> tuple[Stage, ...]:
    """The stages of a recipe, in order. What the last step makes is the variant, and kept as that.

    Args:
        steps: their options as planned.
        start: names the file that the first step gets, and the tools.
        pins: what the board's runtime reads.
        samples: digest of the calibration samples, None when there are none.
    """
    stages, key = [], start
    for after, step in enumerate(steps[:-1], 1):
        key = digest([key, step.name, step.options, _reads(step, pins, samples)])
        if step.name in KEPT:
            stages.append(Stage(after=after, key=key))
    return tuple(stages)


def digest(parts: Any) -> str:
    """sha256 in hex of plain data."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _reads(step: Step, pins: Pins, samples: str | None) -> dict[str, Any]:
    """All that a step depends on besides the graph and its options."""
    read: dict[str, Any] = {}
    if step.name not in WITHOUT_SAMPLES:
        read["samples"] = samples
    if step.name == "upgrade_opset":
        # It converts to what it is asked for, or refuses where the board cannot read that: two boards that can share what comes out.
        read["readable"] = step.options["at_least"] <= pins.max_opset
    elif step.name not in WITHOUT_PINS:
        read["pins"] = pins
    return read


def shared_rungs(chains: Mapping[str, Sequence[Stage]]) -> tuple[Rung, ...]:
    """What is to be made once for several chains, each rung behind the one that it starts from.

    Args:
        chains: by the name of the variant, the stages that are still to be made.
    """
    users: dict[str, list[str]] = {}
    for name, stages in chains.items():
        for stage in stages:
            users.setdefault(stage.key, []).append(name)
    rungs: dict[str, Rung] = {}
    for stages in chains.values():
        needs = None
        for stage, following in zip(stages, (*stages[1:], None), strict=False):
            same = following is not None and users[following.key] == users[stage.key]
            if len(users[stage.key]) > 1 and not same:
                rungs.setdefault(stage.key, Rung(stage=stage, users=tuple(users[stage.key]), needs=needs))
                needs = stage.key
    return tuple(rungs.values())


def needed_rung(stages: Sequence[Stage], rungs: Sequence[Rung]) -> str | None:
    """The last of the rungs that a chain goes through."""
    shared = {rung.stage.key for rung in rungs}
    return next((stage.key for stage in reversed(stages) if stage.key in shared), None)
