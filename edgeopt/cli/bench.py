"""`edgeopt bench`."""

from __future__ import annotations

from typing import Any

import click

from edgeopt.cli.console import print_json, show, watching
from edgeopt.cli.deploy import verdict
from edgeopt.cli.options import device_option, goal_options, json_option, measure_options, model_options, request_from


@click.command("bench")
@model_options
@device_option()
@goal_options
@measure_options
@click.option("--ephemeral", is_flag=True, help="Leave nothing on the board, not even the agent.")
@json_option
def command(*, as_json: bool, **values: Any) -> None:
    """Measure MODEL and its variants on a board (this computer when none is named); install nothing.

    Without samples, inputs are synthetic: drawn pictures or noise. How int8 agrees with the original is then told, but not counted without --accept-synthetic.
    """
    from edgeopt.flows.bench import bench
    from edgeopt.profiles.places import find_places
    from edgeopt.report.json_report import bench_document
    from edgeopt.report.table import candidate_table

    with watching(quiet=as_json) as observer:
        outcome = bench(request_from(values), find_places(), observer)
    if as_json:
        print_json(bench_document(outcome.run, outcome.pick))
    else:
        show(candidate_table(outcome.run, outcome.pick))
        click.echo(f"\nThis run: {outcome.run.id}")
    verdict(outcome.pick, outcome.run.id, told=as_json)
