"""`edgeopt pick`."""

from __future__ import annotations

from typing import Any

import click

from edgeopt.cli.console import print_json, show
from edgeopt.cli.deploy import verdict
from edgeopt.cli.options import GOAL_KEYS, disturbed_option, given, goal_options, json_option


@click.command("pick")
@click.argument("run", default="last")
@goal_options
@disturbed_option
@json_option
def command(*, run: str, accept_disturbed: bool | None, as_json: bool, **values: Any) -> None:
    """Pick again from the saved RUN (its name, the beginning of it, or `last`) under other limits. No board is touched."""
    from edgeopt.flows.repick import repick
    from edgeopt.profiles.places import find_places
    from edgeopt.report.json_report import bench_document
    from edgeopt.report.table import candidate_table

    record, pick = repick(run, given(values, GOAL_KEYS), find_places(), accept_disturbed=accept_disturbed is not None)
    if as_json:
        print_json(bench_document(record, pick))
    else:
        show(candidate_table(record, pick))
    verdict(pick, record.id, told=as_json)
