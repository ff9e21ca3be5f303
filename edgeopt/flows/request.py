"""What a user asked for, from the command line or from Python, before anything is looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeopt.domain.model import Task
from edgeopt.domain.variant import Budget


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Options that stand over edgeopt.toml. None means: as the project's file says, or the default.

    `objectives` are those of `domain.variant.Objective`, `curves` a folder for what training looks like. `goal` and `measure` hold overrides by field name of `domain.goal.Goal` and `domain.run.MeasurePlan`.
    """

    model: Path | None = None
    student: Path | None = None
    samples: str | None = None
    device: str | None = None
    profile: str | None = None
    config: Path | None = None
    app: str | None = None
    task: Task | None = None
    recipes: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None
    budget: Budget | None = None
    objectives: tuple[str, ...] | None = None
    curves: Path | None = None
    threads: tuple[int, ...] | None = None
    goal: dict[str, Any] = {}
    measure: dict[str, Any] = {}
    executor: str | None = None
    ephemeral: bool = False
    reuse_cache: bool = True
