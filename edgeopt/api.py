"""The commands as functions: same names, same options, same results.

    import edgeopt

    outcome = edgeopt.deploy("model.onnx", device="pi4", samples="images/", max_latency_ms=20)
    outcome.pick.candidate, outcome.pick.reason, outcome.release

Errors are those of `edgeopt.errors`; `deploy` and `bench` return an outcome whose `pick.status` is `picked`, `goal-not-met` or `inconclusive` and do not raise for the last two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.domain.observer import Observer, Silent
from edgeopt.errors import ConfigError

if TYPE_CHECKING:
    from edgeopt.flows.bench import Outcome
    from edgeopt.flows.compile import Compiled
    from edgeopt.flows.request import Request

_GOAL = {
    "objective": "objective",
    "then": "then",
    "weights": "weights",
    "max_latency_ms": "max_latency_p50_ms",
    "max_latency_p50_ms": "max_latency_p50_ms",
    "max_latency_p90_ms": "max_latency_p90_ms",
    "max_memory_mb": "max_memory_mb",
    "max_size_mb": "max_size_mb",
    "min_agreement": "min_agreement",
    "max_certified_accuracy_drop": "max_certified_accuracy_drop",
    "accept_synthetic": "accept_synthetic",
    "accept_unchecked": "accept_unchecked",
}
_MEASURE = {
    "rounds": "rounds",
    "max_rounds": "max_rounds",
    "budget_seconds": "budget_s",
    "block_seconds": "block_min_s",
    "seed": "seed",
    "accept_disturbed": "accept_disturbed",
    "settings": "settings",
    "scenario": "scenario",
    "streams": "streams",
    "rate": "rate_hz",
    "sustained": "sustained_minutes",
}
_PLAIN = ("device", "samples", "profile", "app", "task", "budget", "executor", "ephemeral", "curves", "student")
_LISTS = ("recipes", "runtimes", "threads", "objectives")


def deploy(model: str | Path | None = None, *, observer: Observer | None = None, **options: Any) -> Outcome:
    """Build variants, measure them on a device, install the best.

    Args:
        model: an ONNX file; None takes the one of the nearest edgeopt.toml.
        observer: told of progress.
        **options: those of `edgeopt deploy`, with underscores: device, student, samples, config, recipes, runtimes, task, budget, objectives, curves, executor, profile, app, threads, settings, scenario, streams, rate, sustained, rounds, max_rounds, budget_seconds, block_seconds, seed, accept_disturbed,
            ephemeral, objective, then, weights, max_latency_ms, max_latency_p90_ms, max_memory_mb, max_size_mb, min_agreement, max_certified_accuracy_drop, accept_synthetic, accept_unchecked.

    Raises:
        EdgeoptError: see edgeopt.errors.
    """
    from edgeopt.flows.bench import deploy as flow
    from edgeopt.profiles.places import find_places

    return flow(_request(model, options), find_places(), observer or Silent())


def bench(model: str | Path | None = None, *, observer: Observer | None = None, **options: Any) -> Outcome:
    """Measure a model and its variants on a device (this computer when none is named); install nothing. Options as in `deploy`."""
    from edgeopt.flows.bench import bench as flow
    from edgeopt.profiles.places import find_places

    return flow(_request(model, options), find_places(), observer or Silent())


def compile(  # noqa: A001 - the command is called so
    model: str | Path | None = None, *, out: str | Path | None = None, observer: Observer | None = None, **options: Any
) -> Compiled:
    """Build the variants of a model that a device can use, into the folder `out` when it is named. Options as in `deploy`."""
    from edgeopt.flows.compile import compile_model
    from edgeopt.profiles.places import find_places

    return compile_model(_request(model, options), Path(out) if out else None, find_places(), observer or Silent())


def _request(model: str | Path | None, options: dict[str, Any]) -> Request:
    from edgeopt.flows.request import Request

    left = dict(options)
    config = left.pop("config", None)
    goal = {_GOAL[key]: left.pop(key) for key in list(left) if key in _GOAL}
    measure = {_MEASURE[key]: left.pop(key) for key in list(left) if key in _MEASURE}
    plain = {key: left.pop(key) for key in list(left) if key in _PLAIN}
    recipes, runtimes, threads, objectives = (left.pop(key, None) for key in _LISTS)
    if left:
        allowed = sorted([*_GOAL, *_MEASURE, *_PLAIN, *_LISTS, "config"])
        msg = f"unknown option {min(left)!r}, allowed: {', '.join(allowed)}"
        raise ConfigError(msg)
    for key in ("curves", "student"):
        if plain.get(key) is not None:
            plain[key] = Path(plain[key])
    if "samples" in plain and plain["samples"] is not None:
        plain["samples"] = str(plain["samples"])
    return Request(
        model=Path(model) if model is not None else None,
        config=Path(config) if config is not None else None,
        recipes=_tuple(recipes),
        runtimes=_tuple(runtimes),
        threads=_tuple(threads),
        objectives=_tuple(objectives),
        goal=goal,
        measure=measure,
        **plain,
    )


def _tuple(value: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)
