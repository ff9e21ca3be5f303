"""`edgeopt status`."""

from __future__ import annotations

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import device_option, json_option


@click.command("status")
@device_option(required=True)
@json_option
def command(*, device: str, as_json: bool) -> None:
    """Show what is installed on a board: apps, releases, runtimes, space."""
    from edgeopt.flows.devices import status
    from edgeopt.profiles.places import find_places
    from edgeopt.report.installed import installed_lines

    found = status(device, find_places())
    if as_json:
        from edgeopt.cli.documents import StatusDocument

        print_json(StatusDocument(device=device, status=found))
        return
    for line in installed_lines(device, found):
        click.echo(line)
