"""`edgeopt deploy --dry-run`."""

from __future__ import annotations

from typing import Any

import click

from edgeopt.cli.console import print_json, show, watching


def show_plan(request: Any, places: Any, *, as_json: bool) -> None:
    """Show what would be done."""
    from edgeopt.flows.plan import dry_run
    from edgeopt.report.table import plan_table

    with watching(quiet=as_json) as observer:
        plan = dry_run(request, places, observer)
    if as_json:
        from edgeopt.cli.documents import PlanDocument

        print_json(PlanDocument(plan=plan))
        return
    show(plan_table([(v.name, v.title, v.encoding, v.expected_ms, v.reason) for v in plan.variants]))
    from edgeopt.compiler.estimate import duration

    unknown = f"how long building takes here cannot be said: {plan.build_reason}"
    building = (
        unknown
        if plan.build_seconds is None
        else f"building takes about {duration(plan.build_seconds)} here, less what is kept from before"
    )
    longest = plan.cool_down_max_s
    cooling = f", and up to {longest:g} s before each block where it has to cool down" if longest else ""
    for line in plan.expectations:
        click.echo(line)
    click.echo(
        f"\n{plan.candidates} candidates, {plan.rounds} rounds on {plan.device} ({plan.profile}): about {plan.device_seconds / 60:.1f} minutes of the board at most{cooling}. "
        f"{building[0].upper()}{building[1:]}. Nothing was touched."
    )
