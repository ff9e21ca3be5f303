"""`edgeopt profiles`."""

from __future__ import annotations

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import json_option


@click.command("profiles")
@click.argument("name", required=False)
@json_option
def command(*, name: str | None, as_json: bool) -> None:
    """List the kinds of boards that edgeopt knows, or show one of them."""
    import msgspec

    from edgeopt.profiles.load import list_profiles, load_profile
    from edgeopt.profiles.places import find_places

    folder = find_places().profiles
    profiles = (load_profile(name, folder),) if name else list_profiles(folder)
    if as_json:
        from edgeopt.cli.documents import ProfilesDocument

        print_json(ProfilesDocument(profiles=profiles))
        return
    for profile in profiles:
        click.echo(f"{profile.name:<18} {profile.title}")
        if name:
            for key, value in msgspec.to_builtins(profile).items():
                if key not in ("name", "title", "schema") and value not in (None, [], ()):
                    click.echo(f"  {key}: {value}")
    if not name:
        click.echo("\nUse one: edgeopt device add NAME --profile PROFILE --address ssh://USER@HOST")
