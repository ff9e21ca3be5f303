"""edgeopt.toml: what a project wants. Paths in it are relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgeopt.domain.device import Name, RuntimeName
from edgeopt.domain.goal import Goal
from edgeopt.domain.model import Task
from edgeopt.domain.preprocess import Preprocess
from edgeopt.domain.run import Scenario
from edgeopt.domain.text import TextSettings
from edgeopt.domain.variant import Budget, Recovery
from edgeopt.errors import ConfigError
from edgeopt.profiles.decode import read_toml

CONFIG_NAME = "edgeopt.toml"
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Axis = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]


class MeasureOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Overrides of `domain.run.MeasurePlan`; None leaves its default. Times in seconds; what a candidate has not done after `block_timeout_s` hangs."""

    rounds: Annotated[int, msgspec.Meta(ge=2, le=200)] | None = None
    min_rounds: Annotated[int, msgspec.Meta(ge=2, le=200)] | None = None
    max_rounds: Annotated[int, msgspec.Meta(ge=2, le=200)] | None = None
    epsilon: Annotated[float, msgspec.Meta(gt=0, le=0.5)] | None = None
    budget_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    block_min_s: Annotated[float, msgspec.Meta(ge=0.01, le=600)] | None = None
    block_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)] | None = None
    accept_disturbed: bool | None = None
    energy: bool | Literal["auto"] | None = None
    energy_rounds: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    energy_load_s: Annotated[float, msgspec.Meta(ge=0.5, le=3600)] | None = None
    settings: Literal["auto", "fixed"] | None = None
    scenario: Scenario | None = None
    streams: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    sustained_minutes: Annotated[float, msgspec.Meta(ge=0.05, le=60)] | None = None
    rate_hz: Annotated[float, msgspec.Meta(ge=0.001, le=100_000)] | None = None


class ProjectConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. What is None follows from the model, the device's profile or the command line.

    `student` is a smaller network that learns from the model. `samples` is a folder, a file, `module:function` or `synthetic`. `calibration` is the number of samples for calibrating int8; others judge the result.
    `runtimes` are those that are tried, by default all that the device's profile names and that are there. `budget` is how long a recipe may search. `recovery` is how what pruning broke is trained. `executor` is the address of a Dask scheduler that builds instead of this computer. `shapes` gives the shape of inputs with dynamic axes. `devices` are names of the inventory, the first is the default.
    """

    schema: Literal[1] = 1
    app: Name | None = None
    model: Text | None = None
    student: Text | None = None
    samples: Text | None = None
    calibration: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 200
    task: Task | None = None
    devices: tuple[Name, ...] = ()
    recipes: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)] | None = None
    runtimes: Annotated[tuple[RuntimeName, ...], msgspec.Meta(min_length=1)] | None = None
    budget: Budget = "standard"
    recovery: Recovery = Recovery()
    executor: Text | None = None
    goal: Goal = Goal()
    preprocess: Preprocess | None = None
    text: TextSettings = TextSettings()
    shapes: dict[str, tuple[Axis, ...]] = {}
    measure: MeasureOptions = MeasureOptions()


def find_config(folder: Path) -> Path | None:
    """The edgeopt.toml of `folder` or of the nearest folder above it."""
    start = folder.absolute()
    return next((found for place in (start, *start.parents) if (found := place / CONFIG_NAME).is_file()), None)


def load_config(path: Path) -> ProjectConfig:
    """Read and check an edgeopt.toml.

    Raises:
        ConfigError: it is not there, or a key is wrong; the message names the key, what was found and what is allowed.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", hint="Run `edgeopt init` in your project to write one.")
    return read_toml(path, ProjectConfig)
