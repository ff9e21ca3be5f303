"""`edgeopt profiles [list | show]`."""

from __future__ import annotations

import click

from edgeopt.cli.console import print_json
from edgeopt.cli.options import json_option


class _Profiles(click.Group):
    """`profiles` lists, and `profiles NAME` shows as `profiles show NAME` does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take a word that is no command for a profile's name."""
        if args and args[0] not in self.commands:
            return "show", self.commands["show"], args
        return super().resolve_command(ctx, args)


@click.group("profiles", cls=_Profiles, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """List the kinds of boards that edgeopt knows, or show one of them."""
    ctx.default_map = {name: {"as_json": as_json} for name in ("list", "show")}
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@command.command("list")
@json_option
def list_command(*, as_json: bool) -> None:
    """List the kinds of boards, built in and your own."""
    _list(as_json=as_json)


@command.command("show")
@click.argument("name")
@json_option
def show_command(*, name: str, as_json: bool) -> None:
    """Show what is known of one kind of board, and where that comes from."""
    from edgeopt.measure.wheels import version_floors
    from edgeopt.profiles.load import load_profile
    from edgeopt.profiles.places import find_places
    from edgeopt.report.profile import lines

    profile = load_profile(name, find_places().profiles)
    if as_json:
        from edgeopt.cli.documents import ProfilesDocument

        print_json(ProfilesDocument(profiles=(profile,)))
        return
    for line in lines(profile, version_floors()):
        click.echo(line)


def _list(*, as_json: bool) -> None:
    from edgeopt.profiles.load import list_profiles
    from edgeopt.profiles.places import find_places

    profiles = list_profiles(find_places().profiles)
    if as_json:
        from edgeopt.cli.documents import ProfilesDocument

        print_json(ProfilesDocument(profiles=profiles))
        return
    for profile in profiles:
        click.echo(f"{profile.name:<18} {profile.title}")
    click.echo("\nMore of one: edgeopt profiles show NAME")
    click.echo("Use one:     edgeopt device add NAME --profile PROFILE --address ssh://USER@HOST")
