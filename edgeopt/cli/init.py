"""`edgeopt init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import json_option
from edgeopt.errors import ConfigError

if TYPE_CHECKING:
    from edgeopt.profiles.init import Answers, Guess


@click.command("init")
@click.option("--yes", is_flag=True, help="Ask nothing, take what is found and the defaults.")
@click.option("--force", is_flag=True, help="Overwrite an edgeopt.toml that is there.")
@json_option
def command(*, yes: bool, force: bool, as_json: bool) -> None:
    """Write edgeopt.toml in this folder from a few questions, and say which command to run next."""
    from edgeopt.profiles.init import guess_answers, render_config
    from edgeopt.store.blobs import write_atomic

    folder = Path.cwd()
    path = folder / "edgeopt.toml"
    if path.exists() and not force:
        msg = f"{path} is there already"
        raise ConfigError(msg, hint="Edit it, or overwrite it with --force.")
    guess = guess_answers(folder)
    answers = guess.answers() if yes or as_json or not sys.stdin.isatty() else _ask(guess)
    write_atomic(path, render_config(answers).encode())
    following = _next(answers)
    if as_json:
        from edgeopt.cli.documents import InitDocument

        print_json(InitDocument(file=str(path), next=tuple(following)))
        return
    click.echo(f"Wrote {path}.")
    for line in following:
        click.echo(f"Next: {line}")


def _ask(guess: Guess) -> Answers:
    import msgspec

    from edgeopt.profiles.init import app_name

    found = guess.answers()
    model = click.prompt(
        "Model (ONNX or TensorFlow Lite)", default=found.model or (guess.models[0] if guess.models else "model.onnx")
    )
    samples = click.prompt("Folder of unlabelled inputs", default=found.samples or "samples")
    device = click.prompt("Device (`local` is this computer)", default=found.device)
    objective = click.prompt(
        "What to make small", type=click.Choice(["latency", "memory", "size", "energy"]), default="latency"
    )
    agreement = click.prompt(
        "Least agreement with the original (0 to 1)", type=click.FloatRange(0, 1), default=found.min_agreement
    )
    return msgspec.structs.replace(
        found,
        model=model,
        samples=samples,
        app=app_name(model),
        device=device,
        objective=objective,
        min_agreement=agreement,
        images=samples in guess.images,
    )


def _next(answers: Answers) -> list[str]:
    missing = [f"fill in `{key}` in edgeopt.toml" for key in ("model", "samples") if getattr(answers, key) is None]
    device = answers.device
    steps = (
        [] if device == "local" else [f"edgeopt device add {device} --profile pi4 --address ssh://pi@raspberrypi.local"]
    )
    return [*missing, *steps, f"edgeopt deploy --device {device} --dry-run", f"edgeopt deploy --device {device}"]
