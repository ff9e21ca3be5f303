"""`edgeopt deploy`."""

from __future__ import annotations

from typing import Any

import click

from edgeopt.cli.console import print_json, show, watching
from edgeopt.cli.options import device_option, goal_options, json_option, measure_options, model_options, request_from
from edgeopt.errors import EdgeoptError, GoalNotMet, Inconclusive


@click.command("deploy")
@model_options
@device_option()
@goal_options
@measure_options
@click.option("--app", help="Name of the app on the board (default: the model's file name).")
@click.option("--dry-run", is_flag=True, help="Show the plan and the estimated device minutes; touch nothing.")
@click.option("--ephemeral", is_flag=True, help="Measure and pick, install nothing, leave nothing on the board.")
@json_option
def command(*, as_json: bool, dry_run: bool, **values: Any) -> None:
    """Build compressed variants of MODEL, measure them on a board, install the best one.

    Model, samples, preprocessing and goal come from edgeopt.toml; what is given here stands over it.
    """
    from edgeopt.profiles.places import find_places

    request, places = request_from(values), find_places()
    if dry_run:
        from edgeopt.cli.plan import show_plan

        show_plan(request, places, as_json=as_json)
        return
    from edgeopt.flows.bench import deploy
    from edgeopt.report.json_report import deploy_document
    from edgeopt.report.table import candidate_table

    with watching(quiet=as_json) as observer:
        outcome = deploy(request, places, observer)
    if as_json:
        print_json(deploy_document(outcome.run, outcome.pick, outcome.release))
    else:
        show(candidate_table(outcome.run, outcome.pick))
    verdict(outcome.pick, outcome.run.id, told=as_json)
    if not as_json and outcome.release is not None:
        device = outcome.run.device.name
        click.echo(
            f"\nInstalled {outcome.pick.variant} as `{outcome.release.app}` on {device} (release {outcome.release.digest[:12]})."
        )
        click.echo(
            f"See it: edgeopt status --device {device}   Undo it: edgeopt rollback --device {device}   This run: {outcome.run.id}"
        )


def _what_would_say_more(pick: Any, run_id: str) -> str:
    """Of blocks that were disturbed others may be better; where nothing could run at all, no round changes that."""
    if any(summary.p50_ms is not None or summary.verdict == "contaminated" for summary in pick.summaries):
        as_it_is = f"edgeopt pick {run_id} --accept-disturbed"
        return f"Quieten the board and measure longer: --rounds 16. To rank what was measured as it is: {as_it_is}"
    return "More rounds change nothing: mend what is said above. A model that does not take random numbers needs --samples."


def verdict(pick: Any, run_id: str, *, told: bool) -> None:
    """Turn a pick that is none into its exit code. `told`: a JSON object on stdout says it already."""
    if pick.status == "picked":
        return
    error: EdgeoptError
    if pick.status == "goal-not-met":
        again = f"Other limits, no device: edgeopt pick {run_id} --min-agreement 0.95"
        error = GoalNotMet(f"no candidate meets the goal: {pick.reason}", hint=again)
    else:
        error = Inconclusive(f"the measurement does not say: {pick.reason}", hint=_what_would_say_more(pick, run_id))
    error.told = told
    raise error
