"""`edgeopt rollback`."""

from __future__ import annotations

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import device_option, json_option


@click.command("rollback")
@device_option(required=True)
@click.option("--app", help="Which app, when there are several.")
@json_option
def command(*, device: str, app: str | None, as_json: bool) -> None:
    """Switch an app on a board back to the release before the current one, after its health check."""
    from edgeopt.flows.devices import rollback
    from edgeopt.profiles.places import find_places

    release = rollback(device, app, find_places())
    if as_json:
        from edgeopt.cli.documents import RollbackDocument

        print_json(RollbackDocument(device=device, release=release))
        return
    click.echo(f"{release.app} on {device} is back at release {release.digest[:12]}.")
