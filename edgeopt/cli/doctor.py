"""`edgeopt doctor`."""

from __future__ import annotations

import click

from edgeopt.cli.console import print_json, show
from edgeopt.cli.options import device_option, json_option
from edgeopt.errors import DeviceError


@click.command("doctor")
@device_option(required=True)
@json_option
def command(*, device: str, as_json: bool) -> None:
    """Look at a board: reachability, Python, runtime, instruction set, sensors, disk, clock, governor; what to do about each lack."""
    from edgeopt.flows.devices import doctor
    from edgeopt.profiles.places import find_places
    from edgeopt.report.table import doctor_table

    findings = doctor(device, find_places())
    if as_json:
        from edgeopt.cli.documents import DoctorDocument

        print_json(DoctorDocument(device=device, findings=findings))
    else:
        show(doctor_table([(f.subject, f.state, f.found, f.advice) for f in findings]))
    failed = [f for f in findings if f.state == "fail"]
    if failed:
        words = f"{device} is not ready: {', '.join(f.subject for f in failed)}"
        error = DeviceError(words, hint=failed[0].advice, code="not-ready")
        error.told = as_json
        raise error
    if not as_json:
        click.echo(f"\n{device} is ready: edgeopt deploy --device {device}")
