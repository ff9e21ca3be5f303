"""`edgeopt runs list | show`."""

from __future__ import annotations

import click

from edgeopt.cli.console import print_json, show
from edgeopt.cli.options import json_option


@click.group("runs")
def command() -> None:
    """List and show saved runs."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10000), default=20, show_default=True)
@click.option("--app", help="Only this app.")
@click.option("--device", help="Only this board.")
@json_option
def list_runs(*, limit: int, app: str | None, device: str | None, as_json: bool) -> None:
    """List saved runs, newest first."""
    from edgeopt.profiles.places import find_places
    from edgeopt.report.table import runs_table
    from edgeopt.store.results import ResultsStore

    places = find_places()
    rows = ResultsStore(places.database_url, places.runs).list_runs(limit=limit, app=app, device=device)
    if as_json:
        from edgeopt.cli.documents import RunsDocument

        print_json(RunsDocument(runs=rows))
    elif rows:
        show(runs_table(rows))
    else:
        click.echo("No runs yet. Make one: edgeopt bench MODEL.onnx")


@command.command("show")
@click.argument("run", default="last")
@click.option("--raw", is_flag=True, help="The whole record as it was measured, as JSON.")
@json_option
def show_run(*, run: str, raw: bool, as_json: bool) -> None:
    """Show the saved RUN (its name, the beginning of it, or `last`)."""
    from edgeopt.flows.repick import repick
    from edgeopt.profiles.places import find_places
    from edgeopt.report.json_report import bench_document
    from edgeopt.report.table import candidate_table

    record, pick = repick(run, {}, find_places())
    if raw:
        print_json(record)
    elif as_json:
        print_json(bench_document(record, pick))
    else:
        show(candidate_table(record, pick))
