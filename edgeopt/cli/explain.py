"""`edgeopt explain`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import json_option


@click.command("explain")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("variant", required=False)
@json_option
def command(*, path: Path, variant: str | None, as_json: bool) -> None:
    """Show what of a model really runs in int8, on x86 and on ARM, and why the rest stays float.

    PATH is an ONNX file, or a folder that `edgeopt compile --out` wrote; then VARIANT names one of its variants.
    """
    from edgeopt.flows.explain import explain
    from edgeopt.report.explain import explain_lines

    document = explain(path, variant)
    if as_json:
        print_json(document)
        return
    for line in explain_lines(document):
        click.echo(line)
