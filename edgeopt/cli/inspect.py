"""`edgeopt inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import json_option


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def command(*, model: Path, as_json: bool) -> None:
    """Show what MODEL is: its inputs and outputs, its size, its operators, and what edgeopt takes it for."""
    from edgeopt.domain.observer import Silent
    from edgeopt.flows.source import read_source
    from edgeopt.profiles.places import find_places
    from edgeopt.report.cells import safe

    info = read_source(model, find_places().cache, Silent()).model
    if as_json:
        from edgeopt.cli.documents import InspectDocument

        print_json(InspectDocument(model=info))
        return
    click.echo(f"{info.name}: {info.bytes / 1e6:.2f} MB, {info.parameter_count:,} parameters, {info.node_count} nodes")
    form = "TensorFlow Lite" if info.format == "tflite" else f"opset {info.opset}, IR {info.ir_version}"
    click.echo(f"{form}, sha256 {info.digest[:16]}")
    for title, tensors in (("input", info.inputs), ("output", info.outputs)):
        for tensor in tensors:
            click.echo(safe(f"  {title:<7} {tensor.name}: {tensor.dtype}{_shape(tensor.shape)}{_codes(tensor)}"))
    top = sorted(info.op_counts.items(), key=lambda item: (-item[1], item[0]))
    most = ", ".join(f"{count} {name}" for name, count in top[:12]) + (" ..." if len(top) > 12 else "")
    click.echo(safe(f"  operators: {most}"))
    click.echo(safe(f"  taken for: {info.task} ({info.task_reason})"))
    for warning in info.warnings:
        click.echo(safe(f"  note: {warning}"))


def _codes(tensor: Any) -> str:
    """What the codes of a quantised tensor stand for."""
    return "" if tensor.scale is None else f", real = {tensor.scale:.6g} * (code - {tensor.zero_point})"


def _shape(shape: Any) -> str:
    return (
        " of unknown rank"
        if shape is None
        else "[" + ", ".join("?" if axis is None else str(axis) for axis in shape) + "]"
    )
