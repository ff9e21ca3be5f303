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

    found = status(device, find_places())
    if as_json:
        print_json({"schema": 1, "device": device, "status": found})
        return
    if not found["apps"]:
        click.echo(f"{device}: nothing is installed. Install something: edgeopt deploy --device {device}")
    for app in found["apps"]:
        click.echo(f"{app['app']}: {'files verified' if app.get('healthy_files') else 'FILES DAMAGED'}")
        for release in app["releases"]:
            mark = {app.get("current"): "current", app.get("previous"): "previous"}.get(release["digest"], "")
            click.echo(
                f"  {release['digest'][:12]}  {release.get('variant') or '?':<14} {release['bytes'] / 1e6:8.2f} MB  {release.get('activated_at') or '-':<26} {mark}"
            )
    for runtime in found["runtimes"]:
        click.echo(f"runtime {runtime['name']} {runtime['version']}: {runtime['bytes'] / 1e6:.1f} MB")
    free = found.get("disk_free_bytes")
    click.echo(
        f"content kept: {found['blobs_bytes'] / 1e6:.1f} MB"
        + (f", free on the disk: {free / 1e9:.1f} GB" if free is not None else "")
    )
    if found.get("lock"):
        click.echo(f"in use: {found['lock']}")
