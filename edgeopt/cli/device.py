"""`edgeopt device add | list | show | trust | setup | remove`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgeopt.cli.console import print_json, show, watching
from edgeopt.cli.options import json_option

if TYPE_CHECKING:
    from edgeopt.flows.devices import SetUps


@click.group("device")
def command() -> None:
    """Add, list, show, trust, set up and remove boards."""


@command.command("add")
@click.argument("name")
@click.option("--profile", required=True, help="What kind of board it is (see `edgeopt profiles`).")
@click.option(
    "--address",
    required=True,
    help="ssh://[user@]host[:port], adb://SERIAL or adb://host:port for a phone, or local: for this computer.",
)
@click.option("--python", help="The interpreter on the board (default: python3).")
@click.option("--root", default="~/.edgeopt", show_default=True, help="Where the agent keeps its files on the board.")
@click.option("--identity", help="A private key file on this computer (default: what ssh would use).")
@click.option("--threads", help="Thread counts to measure, with commas between; 0 means all cores.")
@click.option(
    "--command",
    "programs",
    multiple=True,
    help="A benchmark program for a phone (benchmark_model, onnxruntime_perf_test), or a library that it needs; may be given more than once.",
)
@click.option("--meter", help="A power meter that this computer reads: shelly://HOST or tasmota://HOST.")
@click.option("--replace", is_flag=True, help="Overwrite a board of that name.")
@json_option
def add(
    *,
    name: str,
    profile: str,
    address: str,
    python: str | None,
    root: str,
    identity: str | None,
    threads: str | None,
    meter: str | None,
    programs: tuple[str, ...],
    replace: bool,
    as_json: bool,
) -> None:
    """Add the board NAME to the inventory."""
    from edgeopt.cli.options import _threads
    from edgeopt.domain.device import Device
    from edgeopt.measure.meters import parse_meter
    from edgeopt.profiles.decode import decode
    from edgeopt.profiles.inventory import add_device
    from edgeopt.profiles.load import load_profile
    from edgeopt.profiles.places import find_places
    from edgeopt.transport.address import parse_address

    places = find_places()
    load_profile(profile, places.profiles)
    parse_address(address)
    if meter is not None:
        parse_meter(meter)
    fields = {
        "name": name,
        "profile": profile,
        "address": address,
        "python": python,
        "root": root,
        "identity": identity,
        "meter": meter,
        "command": programs,
    }
    device = decode(fields | {"threads": _threads(threads) if threads else None}, Device, source="device")
    add_device(device, places, replace=replace)
    if as_json:
        from edgeopt.cli.documents import DeviceDocument

        print_json(DeviceDocument(device=device))
        return
    click.echo(f"Added {name} ({address}, {profile}).")
    if address.startswith("ssh:"):
        click.echo(f"Next: edgeopt device trust {name}")
    else:
        click.echo(f"Next: edgeopt doctor --device {name}")


@command.command("list")
@json_option
def list_devices(*, as_json: bool) -> None:
    """List the boards of the inventory."""
    from edgeopt.profiles.inventory import load_inventory
    from edgeopt.profiles.places import find_places
    from edgeopt.report.table import devices_table

    devices = load_inventory(find_places())
    if as_json:
        from edgeopt.cli.documents import DevicesDocument

        print_json(DevicesDocument(devices=devices))
        return
    show(devices_table(devices))


@command.command("show")
@click.argument("name")
@json_option
def show_device(*, name: str, as_json: bool) -> None:
    """Show what the inventory says of the board NAME."""
    import msgspec

    from edgeopt.profiles.inventory import get_device
    from edgeopt.profiles.places import find_places

    device = get_device(name, find_places())
    if as_json:
        from edgeopt.cli.documents import DeviceDocument

        print_json(DeviceDocument(device=device))
        return
    for key, value in msgspec.to_builtins(device).items():
        click.echo(f"{key}: {value}")


@command.command("trust")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Trust what is shown; for a network that you know to be safe.")
@json_option
def trust(*, name: str, yes: bool, as_json: bool) -> None:
    """Show the host key of the board NAME, and pin it on yes."""
    from edgeopt.flows.devices import trust as pin
    from edgeopt.profiles.places import find_places

    def confirm(question: str) -> bool:
        if yes:
            click.echo(question.rsplit("\n", 1)[0], err=True)
            return True
        try:
            return click.confirm(question, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            click.echo(err=True)  # nobody is there to answer
            return False

    fingerprint = pin(name, find_places(), confirm)
    if as_json:
        from edgeopt.cli.documents import TrustDocument

        print_json(TrustDocument(device=name, fingerprint=fingerprint))
        return
    click.echo(f"Trusted. Next: edgeopt device setup {name}")


@command.command("setup")
@click.argument("name")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="onnxruntime, litert, openvino or ncnn; may be given more than once (default: all of the board's profile).",
)
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be sent and how large it is; send nothing.")
@json_option
def setup(*, name: str, runtimes: tuple[str, ...], only_plan: bool, as_json: bool) -> None:
    """Bring inference runtimes to the board NAME: fetched here for its Python, libc and CPU, unpacked there."""
    from edgeopt.flows.devices import setup as bring
    from edgeopt.profiles.places import find_places

    with watching(quiet=as_json) as observer:
        done = bring(name, find_places(), observer, runtimes, only_plan=only_plan)
    if as_json:
        from edgeopt.cli.documents import SetupDocument

        print_json(SetupDocument(device=name, setup=done))
        return
    for line in _setup_lines(name, done):
        click.echo(line)


def _setup_lines(name: str, done: SetUps) -> Iterator[str]:
    for one in done.runtimes:
        size = (
            f"{one.wheels_bytes / 1e6:.1f} MB in {len(one.wheels)} {'files' if one.runtime == 'command' else 'wheels'}"
        )
        yield f"{one.runtime} {one.version}: {'is there' if one.here else size}"
    for runtime, why in done.missing.items():
        yield f"{runtime}: cannot be had there: {why}"
    names = ", ".join(f"{one.runtime} {one.version}" for one in done.runtimes)
    if done.planned:
        yield f"{done.to_send_bytes / 1e6:.1f} MB would be sent to {name} ({done.python}), into edgeopt's own folder there. Nothing was sent. Next: edgeopt device setup {name}"
    else:
        sent = sum(one.shipped.sent_bytes for one in done.runtimes if one.shipped is not None)
        yield f"{name} has {names} ({sent / 1e6:.1f} MB sent). Next: edgeopt deploy --device {name}"


@command.command("remove")
@click.argument("name")
@json_option
def remove(*, name: str, as_json: bool) -> None:
    """Remove the board NAME from the inventory. Nothing is changed on the board."""
    from edgeopt.profiles.inventory import get_device, remove_device
    from edgeopt.profiles.places import find_places

    places = find_places()
    root = get_device(name, places).root
    remove_device(name, places)
    if as_json:
        from edgeopt.cli.documents import RemovedDocument

        print_json(RemovedDocument(removed=name))
        return
    click.echo(f"Removed {name}. On the board, {root} still holds what was installed.")
