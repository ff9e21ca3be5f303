"""From a request to a job: the project's file, the device, the model and the samples, each checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeopt.domain.device import Device, Profile
from edgeopt.domain.goal import Goal, overridden
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.observer import Observer
from edgeopt.domain.run import MeasurePlan, SamplesInfo
from edgeopt.domain.variant import Budget
from edgeopt.errors import ConfigError, ModelError
from edgeopt.flows.inputs import invent_if_possible, read_inputs
from edgeopt.flows.request import Request
from edgeopt.profiles.config import ProjectConfig, find_config, load_config
from edgeopt.profiles.decode import decode
from edgeopt.profiles.init import app_name
from edgeopt.profiles.inventory import get_device
from edgeopt.profiles.load import load_profile
from edgeopt.profiles.places import Places


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known before anything is built. `calibration` and `heldout` share no sample.

    `samples_named`: the user said where samples come from. `assumed` is what int8 depends on and nobody told; None when there is no such thing.
    """

    app: str
    model_path: Path
    model: ModelInfo
    device: Device
    profile: Profile
    goal: Goal
    plan: MeasurePlan
    recipes: tuple[str, ...] | None
    budget: Budget
    threads: tuple[int, ...]
    calibration: Any
    heldout: Any
    samples_info: SamplesInfo | None
    samples_named: bool
    assumed: str | None = None
    executor: str | None = None


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
    profile = load_profile(request.profile or device.profile, places.profiles)
    model_path = _model_path(request, config, base)
    model = _inspect(model_path, request, config, observer)
    goal = decode(overridden(msgspec.to_builtins(config.goal), request.goal), Goal, source="the goal")
    plan = decode(msgspec.to_builtins(config.measure) | request.measure, MeasurePlan, source="the measuring options")
    if plan.scenario == "fixed-rate" and plan.rate_hz is None:
        raise ConfigError(
            "the scenario fixed-rate needs a rate",
            hint="Name the inferences a second: --rate 30, or rate_hz under [measure].",
        )
    if request.threads or device.threads or profile.threads != (0,):
        plan = msgspec.structs.replace(plan, settings="fixed")
    inputs = read_inputs(request, config, base, model, plan.seed, observer)
    named = inputs.info is not None
    if invent and not named:
        inputs = invent_if_possible(config, model, plan.seed, observer)
    return Job(
        app=request.app or config.app or app_name(model_path),
        model_path=model_path,
        model=model,
        device=device,
        profile=profile,
        goal=goal,
        plan=plan,
        recipes=request.recipes or config.recipes,
        budget=request.budget or config.budget,
        threads=request.threads or device.threads or profile.threads,
        calibration=inputs.calibration,
        heldout=inputs.heldout,
        samples_info=inputs.info,
        samples_named=named,
        assumed=inputs.assumed,
        executor=request.executor or config.executor,
    )


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


def _inspect(path: Path, request: Request, config: ProjectConfig, observer: Observer) -> ModelInfo:
    from edgeopt.compiler.model_info import inspect_model

    observer.stage("inspect", f"inspect {path.name}")
    model = inspect_model(path)
    if request.task is not None:
        model = msgspec.structs.replace(model, task=request.task, task_reason="set by --task")
    elif config.task is not None:
        model = msgspec.structs.replace(model, task=config.task, task_reason="set in edgeopt.toml")
    observer.finish("inspect", f"{model.node_count} nodes, {model.task}")
    for warning in model.warnings:
        observer.note(warning)
    return model
