"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

GOAL_KEYS = (
    "objective",
    "then",
    "weights",
    "max_latency_p50_ms",
    "max_latency_p90_ms",
    "max_memory_mb",
    "max_size_mb",
    "min_agreement",
    "max_certified_accuracy_drop",
    "accept_synthetic",
    "accept_unchecked",
)
QUANTITIES = ("latency", "energy", "memory", "size")
TASKS = ("classification", "detection", "segmentation", "embedding", "regression", "tokens", "other")
"""Those of `domain.model.Task`, which would be slow to import for --help."""
MEASURE_KEYS = (
    "rounds",
    "max_rounds",
    "budget_s",
    "block_min_s",
    "seed",
    "accept_disturbed",
    "energy",
    "settings",
    "scenario",
    "streams",
    "rate_hz",
    "sustained_minutes",
)


def stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Apply several option decorators, first on top."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def disturbed_option(function: F) -> F:
    """`--accept-disturbed`; None without."""
    words = "Rank disturbed blocks, too: for boards that are never quiet."
    return click.option("--accept-disturbed", is_flag=True, default=None, help=words)(function)


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(function)


def device_option(*, required: bool = False) -> Callable[[F], F]:
    """`--device`."""
    return click.option("--device", "-d", required=required, help="A board of the inventory; `local` is this computer.")


def _weights(_context: click.Context, _option: click.Parameter, text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        weights = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        weights = {}
    if (
        not weights
        or not weights.keys() <= set(QUANTITIES)
        or not all(0 < share < float("inf") for share in weights.values())
    ):
        msg = f"found {text!r}, allowed: {', '.join(QUANTITIES)}, each with a share above 0, such as latency=0.7,memory=0.3"
        raise click.BadParameter(msg)
    return weights


def goal_options(function: F) -> F:
    """The goal's objective and limits."""
    return stack(
        click.option("--objective", type=click.Choice(QUANTITIES), help="What to make small."),
        click.option(
            "--then",
            multiple=True,
            callback=lambda _context, _option, values: values or None,
            type=click.Choice(QUANTITIES),
            help="What decides between those that are alike in it; may be given more than once.",
        ),
        click.option(
            "--weights",
            callback=_weights,
            metavar="NAME=SHARE,...",
            help="Make several small at once: latency=0.7,memory=0.3.",
        ),
        click.option(
            "--max-latency-ms",
            "--max-latency-p50-ms",
            "max_latency_p50_ms",
            type=float,
            help="Limit of the median latency.",
        ),
        click.option("--max-latency-p90-ms", type=float, help="Limit of the 90th percentile."),
        click.option("--max-memory-mb", type=float, help="Limit of the peak memory of the process."),
        click.option("--max-size-mb", type=float, help="Limit of the model's files."),
        click.option("--min-agreement", type=float, help="Least agreement with the original, 0 to 1."),
        click.option(
            "--max-certified-accuracy-drop",
            type=float,
            help="Most accuracy that may be lost, with 95 % confidence, 0 to 1.",
        ),
        click.option(
            "--accept-synthetic",
            is_flag=True,
            default=None,
            help="Agreement on synthetic inputs is enough to pick and install a variant.",
        ),
        click.option(
            "--accept-unchecked",
            is_flag=True,
            default=None,
            help="Install also where the device cannot give the network's answers to check them (phones).",
        ),
    )(function)


def model_options(function: F) -> F:
    """The model, its samples and how to build."""
    return stack(
        click.argument("model", required=False, type=click.Path(path_type=Path)),
        click.option(
            "--student",
            type=click.Path(path_type=Path),
            help="A smaller network of the same inputs and outputs (ONNX, file.py:callable ...) that is trained to answer as MODEL does.",
        ),
        click.option(
            "--samples",
            help="Unlabelled inputs: a folder of images, .npy or .npz files, texts in .txt or .jsonl files, module:function, or `synthetic`: drawn pictures or texts, noise for other inputs.",
        ),
        click.option("--config", type=click.Path(path_type=Path), help="Another file than the nearest edgeopt.toml."),
        click.option(
            "--recipes",
            help="Only these, with commas between: original,clean,fp16,int8-dynamic,int8-static,int8-stem,int8-mixed,int8-ort,int8-nncf,int8-aimet,int4-weights,legalise,layers-half,layers-half-int8,student,student-int8,int8-trained,litert,litert-int8,openvino,openvino-int8,ncnn,ncnn-int8.",
        ),
        click.option(
            "--runtimes",
            help="Only these, with commas between: onnxruntime,litert,openvino,ncnn (default: all that the profile names and the board has).",
        ),
        click.option(
            "--budget",
            type=click.Choice(["instant", "standard", "deep"]),
            help="How long int8 may search: a minute, a few, or an hour (default standard).",
        ),
        click.option(
            "--objectives",
            help="What pruned networks learn by, beside mimicry of the original, with commas between: masked,nce,seed,minilm,mlm,clm,plm,multitask (default: none of them).",
        ),
        click.option(
            "--curves",
            metavar="FOLDER",
            type=click.Path(path_type=Path, file_okay=False),
            help="Write what training looks like into this folder: a table, and events for TensorBoard where that is installed.",
        ),
        click.option(
            "--executor",
            metavar="URL",
            help="Build on a Dask cluster: tcp://HOST:PORT of its scheduler (default: here).",
        ),
        click.option("--task", type=click.Choice(TASKS), help="What the outputs are, instead of the guess."),
        click.option("--profile", help="Build for another kind of board than the device's own."),
    )(function)


def measure_options(function: F) -> F:
    """How long to measure."""
    return stack(
        click.option(
            "--rounds",
            type=click.IntRange(1, 200),
            help="Measure every candidate so often (default: as often as it takes, 6 to 24 rounds).",
        ),
        click.option("--max-rounds", type=click.IntRange(2, 200), help="Most rounds of a race (default 24)."),
        click.option(
            "--budget-seconds",
            "budget_s",
            type=click.FloatRange(1),
            help="Most seconds that the rounds may take on the board.",
        ),
        click.option(
            "--block-seconds",
            "block_min_s",
            type=click.FloatRange(0.01, 600),
            help="Least time of one measurement (default 1).",
        ),
        click.option("--seed", type=click.IntRange(0), help="Seed of every random choice (default 0)."),
        disturbed_option,
        click.option(
            "--energy/--no-energy",
            default=None,
            help="Measure energy, too, about a minute for each candidate, where there is a power sensor (default: when it is the objective).",
        ),
        click.option("--threads", help="Thread counts to try, with commas between; 0 means all cores."),
        click.option(
            "--scenario",
            type=click.Choice(["single-stream", "multi-stream", "fixed-rate", "offline"]),
            help="How inferences arrive: one after the other (default), several at once, at a fixed rate, or as many as possible. Limits are of its latency.",
        ),
        click.option(
            "--streams", type=click.IntRange(1, 64), help="How many at once: multi-stream and offline (default 4)."
        ),
        click.option(
            "--rate", "rate_hz", type=click.FloatRange(0.001, 100_000), help="Inferences a second: fixed-rate."
        ),
        click.option(
            "--sustained",
            "sustained_minutes",
            metavar="MINUTES",
            type=click.FloatRange(0.05, 60),
            help="Then run the pick and its original back to back until the temperature is flat, at most so long: what the board keeps up.",
        ),
        click.option(
            "--settings",
            type=click.Choice(["auto", "fixed"]),
            help="Compare threads, fast cores and spinning in short blocks first (auto, unless --threads is given), or run on all cores (fixed).",
        ),
    )(function)


def given(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the options among `keys` that the user gave."""
    return {key: values[key] for key in keys if values.get(key) is not None}


def request_from(values: dict[str, Any]) -> Any:
    """Make the request of what was given on the command line."""
    from edgeopt.flows.request import Request

    threads = values.get("threads")
    return Request(
        model=values.get("model"),
        student=values.get("student"),
        samples=values.get("samples"),
        device=values.get("device"),
        profile=values.get("profile"),
        config=values.get("config"),
        app=values.get("app"),
        task=values.get("task"),
        recipes=_names(values.get("recipes")),
        runtimes=_names(values.get("runtimes")),
        budget=values.get("budget"),
        objectives=_names(values.get("objectives")),
        curves=values.get("curves"),
        executor=values.get("executor"),
        threads=_threads(threads) if threads else None,
        goal=given(values, GOAL_KEYS),
        measure=given(values, MEASURE_KEYS),
        ephemeral=bool(values.get("ephemeral")),
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) or None if text else None


def _threads(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        counts = (-1,)
    if not counts or any(count < 0 or count > 1024 for count in counts):
        msg = (
            f"--threads: found {text!r}, allowed: numbers from 0 (all cores) to 1024 with commas between, such as 1,2,0"
        )
        raise click.UsageError(msg)
    return counts
