"""`edgeopt compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeopt.cli.console import print_json, show, watching
from edgeopt.cli.options import device_option, json_option, model_options, request_from


@click.command("compile")
@model_options
@device_option()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the variants and variants.json."
)
@json_option
def command(*, as_json: bool, out: Path | None, **values: Any) -> None:
    """Build the variants of MODEL that a board can use; no board needed.

    Without samples, int8 is calibrated on synthetic inputs: drawn pictures, drawn texts or noise.
    """
    from edgeopt.flows.compile import compile_model
    from edgeopt.profiles.places import find_places
    from edgeopt.report.table import variants_table

    with watching(quiet=as_json) as observer:
        compiled = compile_model(request_from(values), out, find_places(), observer)
    if as_json:
        print_json(compiled.document)
        return
    show(variants_table(compiled.variants))
    if out is not None:
        click.echo(f"\nWritten to {out} (see {out / 'variants.json'}).")
