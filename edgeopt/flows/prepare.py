"""From a request to a job: the project's file, the device, the model and the samples, each checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from edgeopt.compiler.recipes import get_recipe, original_of
from edgeopt.domain.device import Device, Profile, RuntimeName
from edgeopt.domain.goal import Goal, overridden
from edgeopt.domain.model import ModelInfo, StudentModel
from edgeopt.domain.observer import Observer
from edgeopt.domain.run import MeasurePlan, SamplesInfo
from edgeopt.domain.variant import Budget, Recovery
from edgeopt.errors import ConfigError, ModelError, UnknownName
from edgeopt.flows.inputs import invent_if_possible, read_inputs
from edgeopt.flows.phone import with_programs
from edgeopt.flows.request import Request
from edgeopt.flows.source import Source, read_source, read_student
from edgeopt.profiles.config import ProjectConfig, find_config, load_config
from edgeopt.profiles.decode import decode
from edgeopt.profiles.init import app_name
from edgeopt.profiles.inventory import get_device
from edgeopt.profiles.load import load_profile
from edgeopt.profiles.places import Places


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known before anything is built. `calibration` and `heldout` share no sample.

    `named` is the model as the user wrote it, `model_path` the file that is built from: of other things than ONNX and TensorFlow Lite files it lies in the cache.
    `recovery` is how what pruning broke is trained, `curves` a folder for what that looks like. `unavailable` says of runtimes why nothing can be run by them on the device.
    `samples_named`: the user said where samples come from. `assumed` is what int8 depends on and nobody told; None when there is no such thing.
    """

    app: str
    named: str
    model_path: Path
    model: ModelInfo
    device: Device
    profile: Profile
    goal: Goal
    plan: MeasurePlan
    recipes: tuple[str, ...] | None
    budget: Budget
    recovery: Recovery
    student: StudentModel | None
    curves: Path | None
    threads: tuple[int, ...]
    calibration: Any
    heldout: Any
    samples_info: SamplesInfo | None
    samples_named: bool
    assumed: str | None = None
    executor: str | None = None
    unavailable: dict[str, str] = {}

    @property
    def runtimes(self) -> tuple[str, ...]:
        """All that may be run by: the profile's, those of recipes that were asked for, and the original's own."""
        asked = [get_recipe(name).runtime for name in self.recipes or ()]
        return tuple(dict.fromkeys((*self.profile.runtimes, *asked, original_of(self.model).runtime)))


def prepare(
    request: Request, places: Places, observer: Observer, *, default_device: str | None = None, invent: bool = False
) -> Job:
    """Look up and check everything that a job needs.

    Args:
        request: what was asked.
        places: where the user's files are.
        observer: told of the stages.
        default_device: used when neither the request nor the project names one.
        invent: make synthetic samples when none are named.

    Raises:
        ConfigError, ModelError, SamplesError, UnknownName: each names the key or file and what to do.
    """
    config, base = read_project(request)
    device = find_device(request, config, places, default_device)
    profile = _with_runtimes(
        load_profile(request.profile or device.profile, places.profiles), request.runtimes or config.runtimes
    )
    profile = with_programs(profile, device)
    named = _model_path(request, config, base)
    source = _inspect(named, request, config, places, observer)
    model = source.model
    goal = decode(overridden(msgspec.to_builtins(config.goal), request.goal), Goal, source="the goal")
    plan = decode(msgspec.to_builtins(config.measure) | request.measure, MeasurePlan, source="the measuring options")
    if plan.scenario == "fixed-rate" and plan.rate_hz is None:
        raise ConfigError(
            "the scenario fixed-rate needs a rate",
            hint="Name the inferences a second: --rate 30, or rate_hz under [measure].",
        )
    if request.threads or device.threads or profile.threads != (0,):
        plan = msgspec.structs.replace(plan, settings="fixed")
    inputs = read_inputs(request, config, base, source, plan.seed, observer)
    samples_named = inputs.info is not None
    if invent and not samples_named:
        inputs = invent_if_possible(config, base, source, plan.seed, observer)
    return Job(
        app=request.app or config.app or app_name(named if source.path == named else model.name),
        model_path=source.path,
        named=str(named),
        model=model,
        device=device,
        profile=profile,
        goal=goal,
        plan=plan,
        recipes=request.recipes or config.recipes,
        budget=request.budget or config.budget,
        recovery=_recovery(request, config),
        student=_student(request, config, base, source, places, observer),
        curves=request.curves,
        threads=request.threads or device.threads or profile.threads,
        calibration=inputs.calibration,
        heldout=inputs.heldout,
        samples_info=inputs.info,
        samples_named=samples_named,
        assumed=inputs.assumed,
        executor=request.executor or config.executor,
    )


def _recovery(request: Request, config: ProjectConfig) -> Recovery:
    """What the project says, with the objectives that were asked for.

    Raises:
        ConfigError: no such objective.
    """
    asked = {} if request.objectives is None else {"objectives": request.objectives}
    return decode(msgspec.to_builtins(config.recovery) | asked, Recovery, source="--objectives")


def _student(
    request: Request, config: ProjectConfig, base: Path, source: Source, places: Places, observer: Observer
) -> StudentModel | None:
    named = request.student or (base / config.student if config.student else None)
    return None if named is None else read_student(named, source.model, places.cache, observer, config.shapes)


def _with_runtimes(profile: Profile, wanted: Sequence[str] | None) -> Profile:
    """The profile with the runtimes that were asked for instead of its own.

    Raises:
        UnknownName: no such runtime.
    """
    if wanted is None:
        return profile
    known = get_args(RuntimeName)
    for name in wanted:
        if name not in known:
            raise UnknownName(
                f"no runtime is called {name!r}", hint=f"There are: {', '.join(known)}.", code="unknown-runtime"
            )
    return msgspec.structs.replace(profile, runtimes=tuple(dict.fromkeys(wanted)))


def read_project(request: Request) -> tuple[ProjectConfig, Path]:
    """Return the project's settings and the folder that its paths are relative to; defaults when there is no edgeopt.toml."""
    path = request.config or (None if request.model else find_config(Path.cwd()))
    if path is None:
        return ProjectConfig(), Path.cwd()
    return load_config(path), path.resolve().parent


def find_device(request: Request, config: ProjectConfig, places: Places, default: str | None) -> Device:
    """Return the device that was asked for, or the project's first. Raises ConfigError when none is named."""
    name = request.device or (config.devices[0] if config.devices else default)
    if name is None:
        msg = "no device named"
        raise ConfigError(
            msg,
            hint="Name one: --device NAME (see `edgeopt device list`; `local` is this computer), or `devices = [...]` in edgeopt.toml.",
        )
    return get_device(name, places)


def _model_path(request: Request, config: ProjectConfig, base: Path) -> Path:
    if request.model is not None:
        return request.model
    if config.model:
        return base / config.model
    msg = "no model named"
    raise ModelError(
        msg,
        hint="Name one: edgeopt deploy MODEL.onnx ..., or run `edgeopt init` in your project.",
        code="model-missing",
    )


def _inspect(named: Path, request: Request, config: ProjectConfig, places: Places, observer: Observer) -> Source:
    observer.stage("inspect", f"inspect {named.name}")
    source = read_source(named, places.cache, observer, config.shapes)
    model = source.model
    if request.task is not None:
        model = msgspec.structs.replace(model, task=request.task, task_reason="set by --task")
    elif config.task is not None:
        model = msgspec.structs.replace(model, task=config.task, task_reason="set in edgeopt.toml")
    observer.finish("inspect", f"{model.node_count} nodes, {model.task}")
    for warning in model.warnings:
        observer.note(warning)
    return msgspec.structs.replace(source, model=model)
