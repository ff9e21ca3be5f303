"""What is done with one device: trust it, look at it, set it up, ask what is installed, roll back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgeopt.domain.bundle import Release
from edgeopt.domain.installed import Installed
from edgeopt.domain.observer import Observer
from edgeopt.errors import AgentError, DeviceError, HostKeyUnknown, NotInstalled, UserError
from edgeopt.flows.connect import open_session, runtime_site
from edgeopt.flows.findings import Finding, judge_facts
from edgeopt.measure.install import roll_back
from edgeopt.measure.session import Owner, Session
from edgeopt.measure.ship import Content, Shipped, ship
from edgeopt.measure.wheels import device_python, fetch_wheels, runtime_version
from edgeopt.profiles.inventory import get_device
from edgeopt.profiles.load import list_profiles, load_profile
from edgeopt.profiles.places import Places


class SetUp(msgspec.Struct, frozen=True, kw_only=True):
    """What `device setup` did. `shipped` is None when the runtime was there already."""

    runtime: str
    version: str
    key: str | None
    wheels: tuple[str, ...]
    shipped: Shipped | None


def trust(name: str, places: Places, confirm: Callable[[str], bool]) -> str:
    """Show a device's host key to the user and pin it on yes.

    Args:
        name: the device.
        places: where the trusted keys are kept.
        confirm: shown the sentence with the fingerprint; returns the user's answer.

    Returns:
        The fingerprint that is trusted now.

    Raises:
        UserError: the user said no, or the device needs no trust.
        LinkError: it cannot be reached.
    """
    from edgeopt.transport.address import LocalAddress, parse_address
    from edgeopt.transport.hostkeys import scan_host_key
    from edgeopt.transport.hostkeys import trust as pin

    device = get_device(name, places)
    address = parse_address(device.address)
    if isinstance(address, LocalAddress):
        msg = f"{name} is this computer; there is no host key to trust"
        raise UserError(msg)
    key = scan_host_key(address, known_hosts=places.known_hosts, name=name)
    if not confirm(
        f"{name} ({device.address}) shows this {key.type} host key:\n  {key.fingerprint}\nIs that the board's own?"
    ):
        msg = f"{name} was not trusted"
        raise HostKeyUnknown(
            msg,
            hint=f"On the board, `ssh-keygen -lf /etc/ssh/ssh_host_{_kind(key.type)}_key.pub` shows the true fingerprint. "
            "When it is the same, answer y, or give --yes where nobody can answer.",
        )
    pin(places.known_hosts, address, key)
    return str(key.fingerprint)


def _kind(key_type: str) -> str:
    """`ed25519` of ssh-ed25519, `ecdsa` of ecdsa-sha2-nistp256: what OpenSSH's server calls the file."""
    return key_type.removeprefix("ssh-").partition("-")[0]


def setup(name: str, places: Places, observer: Observer, runtime: str = "onnxruntime") -> SetUp:
    """Bring a runtime to a device: wheels for the device's own Python, fetched here, shipped, unpacked there.

    Raises:
        WheelMissing: nobody publishes one for that Python and CPU.
        DeviceError, LinkError.
    """
    device = get_device(name, places)
    with open_session(device, places) as session:
        session.lock("setup", Owner.this_process("setup"))
        facts = session.call("probe", {})
        target = device_python(facts)
        observer.stage("fetch", f"fetch {runtime} for {target}")
        wheels = fetch_wheels(runtime, target, places.cache)
        version = runtime_version(runtime, wheels)
        observer.finish("fetch", f"{runtime} {version}")
        contents = [Content(digest=w.digest, bytes=w.bytes, path=w.path, label=w.file) for w in wheels]
        shipped = ship(session, contents, observer)
        observer.stage("unpack", f"unpack on {name}")
        args = {"name": runtime, "version": version, "wheels": [{"file": w.file, "digest": w.digest} for w in wheels]}
        reply = session.call("runtime", args, timeout_s=600.0)
        observer.finish("unpack")
        seen = session.call("probe", {})
        _, works = runtime_site(seen, device, runtime)
    return SetUp(
        runtime=runtime, version=works, key=reply["key"], wheels=tuple(w.file for w in wheels), shipped=shipped
    )


def status(name: str, places: Places) -> Installed:
    """Return what is installed on a device.

    Raises:
        AgentError: its agent's answer has another form.
        DeviceError, LinkError.
    """
    with open_session(get_device(name, places), places) as session:
        return _installed(session)


def _installed(session: Session) -> Installed:
    try:
        return msgspec.convert(session.call("status", {}), Installed)
    except msgspec.ValidationError as error:
        raise AgentError(f"{session.device.name}: the agent's answer to `status` has another form: {error}") from error


def rollback(name: str, app: str | None, places: Places) -> Release:
    """Switch an app back to the release before the current one.

    Raises:
        NotInstalled: no such app, several and none named, or nothing before the current release.
    """
    with open_session(get_device(name, places), places) as session:
        session.lock("rollback", Owner.this_process("rollback"))
        apps = [entry.app for entry in _installed(session).apps]
        if app is None and len(apps) != 1:
            msg = f"{name}: {'no app is' if not apps else 'several apps are'} installed there" + (
                f": {', '.join(apps)}" if apps else ""
            )
            raise NotInstalled(msg, hint="Name one with --app." if apps else "Run `edgeopt deploy` first.")
        return roll_back(session, app or apps[0], timeout_s=120.0)


def doctor(name: str, places: Places) -> tuple[Finding, ...]:
    """Look at everything that a deploy needs; never raises for what is wrong with the device."""
    device = get_device(name, places)
    try:
        with open_session(device, places, ephemeral=True) as session:
            version = session.landed.python_version if session.landed else "?"
            facts = session.call("probe", {})
    except DeviceError as error:
        return (Finding(subject="reach", state="fail", found=error.message, advice=error.hint),)
    reach = Finding(subject="reach", state="ok", found=f"{device.address}, agent runs on Python {version}")
    profile, known = load_profile(device.profile, places.profiles), list_profiles(places.profiles)
    return (reach, *judge_facts(facts, device, profile, known))
