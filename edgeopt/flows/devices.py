"""What is done with one device: trust it, look at it, set it up, ask what is installed, roll back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from edgeopt.domain.bundle import Release
from edgeopt.domain.device import Device
from edgeopt.domain.observer import Observer
from edgeopt.errors import DeviceError, EdgeoptError, HostKeyUnknown, NotInstalled, RuntimeMissing, UserError
from edgeopt.flows.connect import open_session, runtime_site
from edgeopt.measure.install import roll_back
from edgeopt.measure.session import Owner
from edgeopt.measure.ship import Content, Shipped, ship
from edgeopt.measure.wheels import device_python, fetch_wheels, runtime_version
from edgeopt.profiles.inventory import get_device
from edgeopt.profiles.load import list_profiles, load_profile, match_profile
from edgeopt.profiles.places import Places


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `doctor` looked at. `advice` says what to do about a lack."""

    subject: str
    state: Literal["ok", "warn", "fail", "unknown"]
    found: str
    advice: str | None = None


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
        f"{name} ({device.address}) shows a {key.type} key with the fingerprint\n  {key.fingerprint}\nIs that the board's own?"
    ):
        msg = f"{name} was not trusted"
        raise HostKeyUnknown(
            msg,
            hint=f"On the board, `ssh-keygen -lf /etc/ssh/ssh_host_{key.type.removeprefix('ssh-')}_key.pub` shows the true fingerprint.",
        )
    pin(places.known_hosts, address, key)
    return str(key.fingerprint)


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


def status(name: str, places: Places) -> dict[str, Any]:
    """Return what is installed on a device, as the agent says it."""
    with open_session(get_device(name, places), places) as session:
        return session.call("status", {})


def rollback(name: str, app: str | None, places: Places) -> Release:
    """Switch an app back to the release before the current one.

    Raises:
        NotInstalled: no such app, several and none named, or nothing before the current release.
    """
    with open_session(get_device(name, places), places) as session:
        session.lock("rollback", Owner.this_process("rollback"))
        apps = [entry["app"] for entry in session.call("status", {})["apps"]]
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
    return (reach, *judge_facts(facts, device, places))


def judge_facts(facts: dict[str, Any], device: Device, places: Places) -> tuple[Finding, ...]:
    """Turn the probe's facts into findings. Pure but for the profile that it reads."""
    return (
        _board(facts, device, places),
        _runtime(facts, device),
        _isa(facts, device, places),
        _sensors(facts),
        _disk(facts),
        _memory(facts),
        _clock(facts),
        _governor(facts),
    )


def _board(facts: dict[str, Any], device: Device, places: Places) -> Finding:
    cpu, board = facts["cpu"], facts["board"]
    found = f"{board.get('dt_model') or cpu.get('model') or facts['machine']}, {cpu.get('cores')} cores, {facts['system']} {facts['kernel']}"
    seen = match_profile(facts, list_profiles(places.profiles))
    if seen and seen != device.profile and not device.profile.startswith(("generic", "local")):
        return Finding(
            subject="board",
            state="warn",
            found=found,
            advice=f"It looks like `{seen}`, the inventory says `{device.profile}`.",
        )
    return Finding(subject="board", state="ok", found=found)


def _runtime(facts: dict[str, Any], device: Device) -> Finding:
    try:
        site, version = runtime_site(facts, device, "onnxruntime")
    except RuntimeMissing as error:
        try:
            target: Any = device_python(facts)
        except (EdgeoptError, KeyError):
            target = "its Python"
        return Finding(subject="runtime", state="fail", found=f"no onnxruntime for {target}", advice=error.hint)
    return Finding(
        subject="runtime",
        state="ok",
        found=f"onnxruntime {version} ({'shipped by edgeopt' if site else 'of its Python'})",
    )


def _isa(facts: dict[str, Any], device: Device, places: Places) -> Finding:
    features = set(facts["cpu"].get("features") or ())
    wanted = set(load_profile(device.profile, places.profiles).isa)
    if not features:
        return Finding(subject="isa", state="unknown", found="the kernel does not say what the CPU can do")
    fast = sorted(
        features & {"asimddp", "i8mm", "asimdhp", "sve", "avx2", "avx512_vnni", "avx_vnni", "amx_int8", "f16c"}
    )
    lack = sorted(wanted - features)
    if lack:
        return Finding(
            subject="isa",
            state="warn",
            found=", ".join(fast) or "nothing special",
            advice=f"The profile promises {', '.join(lack)}, which this CPU does not show.",
        )
    return Finding(
        subject="isa",
        state="ok",
        found=", ".join(fast) or "no int8 or fp16 instructions: compression saves memory more than time",
    )


def _sensors(facts: dict[str, Any]) -> Finding:
    sensors = facts.get("sensors") or {}
    names = [sensor["name"] for sensor in sensors.get("temperature") or ()]
    heat = f"temperature: {', '.join(names[:4])}" if names else "no temperature sensor"
    power = sensors.get("power")
    reason = sensors.get("power_reason")
    return Finding(
        subject="sensors",
        state="ok" if names and power else "warn",
        found=f"{heat}; {'power: ' + str(power) if power else 'no power sensor'}",
        advice=None if power else reason,
    )


def _disk(facts: dict[str, Any]) -> Finding:
    disk = facts["disk"]
    free = disk.get("free_bytes")
    if not disk.get("writable", True):
        return Finding(
            subject="disk",
            state="fail",
            found=f"{disk['path']} cannot be written",
            advice="Remount it writable or name another folder with --root.",
        )
    if free is None:
        return Finding(subject="disk", state="unknown", found="free space is not known")
    state: Literal["ok", "warn"] = "ok" if free > 300e6 else "warn"
    return Finding(
        subject="disk",
        state=state,
        found=f"{free / 1e9:.1f} GB free",
        advice=None if state == "ok" else "A runtime takes about 150 MB; free some space.",
    )


def _memory(facts: dict[str, Any]) -> Finding:
    memory = facts["memory"]
    free, total = memory.get("available_bytes"), memory.get("total_bytes")
    if not free or not total:
        return Finding(subject="memory", state="unknown", found="the kernel does not say")
    return Finding(
        subject="memory",
        state="ok" if free > 150e6 else "warn",
        found=f"{free / 1e6:.0f} of {total / 1e6:.0f} MB available",
        advice=None if free > 150e6 else "Stop what is not needed there; a run needs about 150 MB and the model.",
    )


def _clock(facts: dict[str, Any]) -> Finding:
    clock = facts["clock"]
    good = bool(clock.get("plausible", True))
    return Finding(
        subject="clock",
        state="ok" if good else "warn",
        found=str(clock.get("utc")),
        advice=None
        if good
        else "The clock is wrong. Latencies do not depend on it, stamps do: sudo timedatectl set-ntp true",
    )


def _governor(facts: dict[str, Any]) -> Finding:
    governor = facts.get("governor")
    if governor is None:
        return Finding(
            subject="governor", state="unknown", found=str(facts.get("governor_reason") or "the kernel does not say")
        )
    names = sorted({governor} if isinstance(governor, str) else set(governor))
    steady = names == ["performance"]
    return Finding(
        subject="governor",
        state="ok" if steady else "warn",
        found=", ".join(names),
        advice=None
        if steady
        else "For repeatable figures: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )
