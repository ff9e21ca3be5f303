"""What is done with one device: trust it, look at it, set it up, ask what is installed, roll back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.domain.bundle import Release
from edgeopt.domain.device import Device
from edgeopt.domain.installed import Installed
from edgeopt.domain.observer import Observer
from edgeopt.errors import (
    AgentError,
    DeviceError,
    HostKeyUnknown,
    NotInstalled,
    RuntimeMissing,
    UnknownName,
    UserError,
    WheelMissing,
)
from edgeopt.flows.connect import open_session, runtime_site
from edgeopt.flows.finding import Finding
from edgeopt.flows.findings import judge_facts
from edgeopt.flows.lacks import lack
from edgeopt.flows.phone import COMMAND, is_phone, programs_of, set_up
from edgeopt.flows.phone_findings import judge_phone
from edgeopt.measure.install import roll_back
from edgeopt.measure.session import Owner, Session
from edgeopt.measure.ship import Content, Shipped, ship
from edgeopt.measure.wheels import (
    REQUIREMENTS,
    DevicePython,
    Wheel,
    device_python,
    fetch_wheels,
    key_of,
    runtime_version,
)
from edgeopt.profiles.inventory import get_device
from edgeopt.profiles.load import list_profiles, load_profile
from edgeopt.profiles.places import Places


class SetUp(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime that `device setup` brought, or would. `shipped` is None when it was there already, or nothing was sent. `wheels_bytes` is the size of all its wheels."""

    runtime: str
    version: str
    key: str | None
    wheels: tuple[str, ...]
    wheels_bytes: int
    here: bool
    shipped: Shipped | None


class SetUps(msgspec.Struct, frozen=True, kw_only=True):
    """What `device setup` brought, or with `planned` would bring. `missing` says of a runtime why it cannot be had there. `to_send_bytes`: what the device does not have yet."""

    python: str
    planned: bool
    runtimes: tuple[SetUp, ...]
    missing: dict[str, str]
    to_send_bytes: int


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
    from edgeopt.transport.address import AdbAddress, LocalAddress, parse_address
    from edgeopt.transport.hostkeys import scan_host_key
    from edgeopt.transport.hostkeys import trust as pin

    device = get_device(name, places)
    address = parse_address(device.address)
    if isinstance(address, LocalAddress):
        msg = f"{name} is this computer; there is no host key to trust"
        raise UserError(msg)
    if isinstance(address, AdbAddress):
        msg = f"{name} is a phone; there is no host key to trust"
        raise UserError(msg, hint="The phone itself asks whether it may be debugged; answer there.")
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


def setup(
    name: str, places: Places, observer: Observer, runtimes: Sequence[str] = (), *, only_plan: bool = False
) -> SetUps:
    """Bring runtimes to a device: wheels for the device's own Python, fetched here, shipped, unpacked there.

    Args:
        name: the device.
        places: where wheels are kept.
        observer: told of the stages.
        runtimes: which; by default all that the device's profile names and somebody publishes for it.
        only_plan: fetch the wheels here, and send nothing.

    Raises:
        WheelMissing: nobody publishes a runtime that was named, or any, for that Python and CPU.
        UnknownName: no such runtime.
        DeviceError, LinkError.
    """
    device = get_device(name, places)
    if is_phone(device):
        return _set_up_phone(device, places, observer, only_plan=only_plan)
    wanted = runtimes or load_profile(device.profile, places.profiles).runtimes
    _check_names(runtimes)
    with open_session(device, places) as session:
        if not only_plan:
            session.lock("setup", Owner.this_process("setup"))
        facts = session.call("probe", {})
        target = device_python(facts)
        found, missing = _fetch_all(
            [r for r in wanted if r in REQUIREMENTS], target, places, observer, strict=bool(runtimes)
        )
        keys = {item.get("key") for item in facts["runtimes"]}
        planned = [_planned(runtime, wheels, keys) for runtime, wheels in found.items()]
        absent = {w.digest: w for r, wheels in found.items() for w in wheels if key_of(wheels) not in keys}
        there = session.call("have", {"digests": sorted(absent)})["missing"] if absent else []
        to_send = sum(absent[digest].bytes for digest in there)
        if not only_plan:
            planned = [_bring(session, one, found[one.runtime], observer) for one in planned]
            planned, missing = _proven(session.call("probe", {}), device, planned, missing)
    return SetUps(
        python=str(target), planned=only_plan, runtimes=tuple(planned), missing=missing, to_send_bytes=to_send
    )


def _set_up_phone(device: Device, places: Places, observer: Observer, *, only_plan: bool) -> SetUps:
    """Bring the programs that the device's `command` names.

    Raises:
        RuntimeMissing: none is named, or none starts there.
        ConfigError: a file is not there, or none of them is a program that edgeopt knows.
        DeviceError, LinkError.
    """
    contents = programs_of(device)
    one = SetUp(
        runtime=COMMAND,
        version=", ".join(content.digest[:12] for content in contents),
        key=None,
        wheels=tuple(content.label for content in contents),
        wheels_bytes=sum(content.bytes for content in contents),
        here=False,
        shipped=None,
    )
    with open_session(device, places) as session:
        if not only_plan:
            session.lock("setup", Owner.this_process("setup"))
        there = session.call("have", {"digests": sorted(content.digest for content in contents)})["missing"]
        to_send = sum(content.bytes for content in contents if content.digest in there)
        if not only_plan:
            version, key, shipped = set_up(device, session, contents, observer)
            one = msgspec.structs.replace(one, version=version, key=key, shipped=shipped)
    return SetUps(
        python="none, as on every phone", planned=only_plan, runtimes=(one,), missing={}, to_send_bytes=to_send
    )


def _check_names(runtimes: Sequence[str]) -> None:
    for runtime in runtimes:
        if runtime not in REQUIREMENTS:
            msg = f"no runtime that can be brought is called {runtime!r}"
            raise UnknownName(msg, hint=f"There are: {', '.join(REQUIREMENTS)}.", code="unknown-runtime")


def _fetch_all(
    runtimes: Sequence[str], target: DevicePython, places: Places, observer: Observer, *, strict: bool
) -> tuple[dict[str, tuple[Wheel, ...]], dict[str, str]]:
    """Wheels by runtime, and why there are none for the others."""
    found: dict[str, tuple[Wheel, ...]] = {}
    missing: dict[str, str] = {}
    last: WheelMissing | None = None
    for runtime in runtimes:
        observer.stage("fetch", f"fetch {runtime} for {target}")
        try:
            found[runtime] = fetch_wheels(runtime, target, places.cache)
        except WheelMissing as error:
            why = lack(runtime, target, list_profiles(places.profiles))
            told = WheelMissing(error.message, hint=f"{why[0].upper()}{why[1:]}." if why else error.hint)
            if strict:
                raise told from error
            last = last or told
            missing[runtime] = f"{told.message}. {told.hint or ''}".strip()
            continue
        observer.finish("fetch", f"{runtime} {runtime_version(runtime, found[runtime])}")
    if last is not None and not found:
        raise last
    return found, missing


def _planned(runtime: str, wheels: Sequence[Wheel], keys: Collection[str | None]) -> SetUp:
    key = key_of(wheels)
    return SetUp(
        runtime=runtime,
        version=runtime_version(runtime, wheels),
        key=key,
        wheels=tuple(w.file for w in wheels),
        wheels_bytes=sum(w.bytes for w in wheels),
        here=key in keys,
        shipped=None,
    )


def _bring(session: Session, one: SetUp, wheels: Sequence[Wheel], observer: Observer) -> SetUp:
    """Ship and unpack a runtime that is not there."""
    if one.here:
        return one
    contents = [Content(digest=w.digest, bytes=w.bytes, path=w.path, label=w.file) for w in wheels]
    shipped = ship(session, contents, observer)
    observer.stage("unpack", f"unpack {one.runtime} on {session.device.name}")
    args = {
        "name": one.runtime,
        "version": one.version,
        "wheels": [{"file": w.file, "digest": w.digest} for w in wheels],
    }
    session.call("runtime", args, timeout_s=600.0)
    observer.finish("unpack")
    return msgspec.structs.replace(one, shipped=shipped)


def _proven(
    facts: Mapping[str, Any], device: Device, brought: Sequence[SetUp], missing: Mapping[str, str]
) -> tuple[list[SetUp], dict[str, str]]:
    """What was brought and really loads there, and why the rest does not.

    Raises:
        RuntimeMissing: nothing loads.
    """
    broken: dict[str, RuntimeMissing] = {}
    for one in brought:
        try:
            runtime_site(facts, device, one.runtime)
        except RuntimeMissing as error:
            broken[one.runtime] = error
    if broken and len(broken) == len(brought):
        raise next(iter(broken.values()))
    works = [one for one in brought if one.runtime not in broken]
    return works, {**missing, **{runtime: error.message for runtime, error in broken.items()}}


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
    profile, known = load_profile(device.profile, places.profiles), list_profiles(places.profiles)
    findings = judge_facts(facts, device, profile, known)
    if is_phone(device):
        reach = Finding(subject="reach", state="ok", found=f"{device.address}, its shell answers")
        return (reach, *judge_phone(facts, device, profile, findings))
    reach = Finding(subject="reach", state="ok", found=f"{device.address}, agent runs on Python {version}")
    return (reach, *findings)
