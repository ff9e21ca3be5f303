"""What `doctor` says of a device: rules from the agent's facts to findings, each with what to do about a lack. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from edgeopt.domain.device import Device, Match, Profile
from edgeopt.errors import RuntimeMissing
from edgeopt.flows.connect import DEFAULT, usable_runtimes
from edgeopt.flows.finding import Finding
from edgeopt.flows.lacks import lack
from edgeopt.measure.wheels import REQUIREMENTS, device_python
from edgeopt.profiles.recognise import Recognition, recognise


def judge_facts(
    facts: dict[str, Any], device: Device, profile: Profile, known: Sequence[Profile]
) -> tuple[Finding, ...]:
    """Turn the probe's facts into findings.

    Args:
        facts: what the agent's `probe` said.
        device: the board, as the inventory has it.
        profile: the kind of board that the inventory says it is.
        known: every kind of board, to see whether it looks like another one.
    """
    return (
        _board(facts, profile, known),
        _runtimes(facts, device, profile, known),
        _isa(facts, profile),
        _sensors(facts),
        _disk(facts),
        _memory(facts),
        _clock(facts),
        _governor(facts),
    )


def _board(facts: dict[str, Any], profile: Profile, known: Sequence[Profile]) -> Finding:
    cpu, board = facts["cpu"], facts["board"]
    found = f"{board.get('dt_model') or cpu.get('model') or facts['machine']}, {cpu.get('cores')} cores, {facts['system']} {facts['kernel']}"
    seen = recognise(facts, known)
    advice = " ".join(filter(None, (against(seen, profile) or " ".join(seen.doubts), _virtual(board)))) or None
    if advice is not None:
        return Finding(subject="board", state="warn", found=found, advice=advice)
    if seen.alike and profile.name not in seen.fits:
        found += f"; {seen.evidence}, and {_or(seen.alike)} has such cores"
    return Finding(subject="board", state="ok", found=found)


def _virtual(board: dict[str, Any]) -> str | None:
    shows = board.get("virtual")
    return f"This is a virtual machine ({shows}): its times say nothing about a board." if shows else None


def against(seen: Recognition, profile: Profile) -> str | None:
    """Say what speaks against the profile that was chosen for a board, in sentences; None where nothing does, or where it is for no board in particular."""
    return None if profile.match == Match() else _another(seen, profile) or " ".join(seen.doubts) or None


def _another(seen: Recognition, profile: Profile) -> str | None:
    """Say that the board looks like another kind than the inventory says; None where it may well be that one."""
    chosen = profile.name
    if seen.profile is None or chosen in (*seen.fits, *seen.alike):
        return None
    if seen.doubts and seen.by == "architecture":
        return f"{' '.join(seen.doubts)} `{seen.profile}` is for that."
    if seen.by == "architecture":
        tell = f" (or {_or(seen.alike)}, by its cores)" if seen.alike else ""
        return f"Nothing there says that it is a `{chosen}`, as the inventory has it: {seen.evidence}. `{seen.profile}`{tell} is what is known."
    return f"It looks like `{seen.profile}`, the inventory says `{chosen}`: {seen.evidence}."


def _or(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _runtimes(facts: dict[str, Any], device: Device, profile: Profile, known: Sequence[Profile]) -> Finding:
    """One of them is enough; the others would be further ways to run a model."""
    wanted: list[str] = [name for name in profile.runtimes if name in REQUIREMENTS] or [DEFAULT]
    try:
        there = usable_runtimes(facts, device, wanted)
    except RuntimeMissing as error:
        found = f"no {' and no '.join(wanted)} for {device_python(facts)}"
        broken = error.message.partition(": ")[2] if facts.get("runtimes_reason") else ""
        return Finding(
            subject="runtime",
            state="fail",
            found=f"{found}: {broken}" if broken else found,
            advice=_to_be_had(wanted, facts, known, f"Run: edgeopt device setup {device.name}"),
        )
    named = [
        f"{name} {version} ({'shipped by edgeopt' if there.sites[name] else 'of its Python'})"
        for name, version in there.versions.items()
    ]
    offer = f"More runtimes to choose from: edgeopt device setup {device.name}"
    missing = (
        f"Not there: {', '.join(there.missing)}. {_to_be_had(list(there.missing), facts, known, offer)}"
        if there.missing
        else None
    )
    return Finding(subject="runtime", state="ok", found=", ".join(named), advice=missing)


def _to_be_had(runtimes: Sequence[str], facts: dict[str, Any], known: Sequence[Profile], offer: str) -> str:
    """Offer what may be brought, and say why the rest may not be, by what was looked up for such a Python."""
    target = device_python(facts)
    reasons = {runtime: reason for runtime in runtimes if (reason := lack(runtime, target, known))}
    lacks = [f"No {runtime} is published for it: {reason}." for runtime, reason in reasons.items()]
    return " ".join([*([offer] if len(reasons) < len(runtimes) else []), *lacks])


def _isa(facts: dict[str, Any], profile: Profile) -> Finding:
    features = set(facts["cpu"].get("features") or ())
    if "asimd" in features:
        features.add("neon")  # what a 32-bit program calls it, to which a 64-bit kernel shows the 64-bit names
    wanted = set(profile.isa)
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
    power = ", ".join(f"{sensor['name']} (class {sensor['class']})" for sensor in sensors.get("power") or ())
    reason = sensors.get("power_reason")
    return Finding(
        subject="sensors",
        state="ok" if names and power else "warn",
        found=f"{heat}; {'power: ' + power if power else 'no power sensor'}",
        advice=None if power else reason,
    )


def _disk(facts: dict[str, Any]) -> Finding:
    # Doctor's own session is in a folder for temporary files, which may be another disk: a part of the memory, say.
    disk = facts.get("lasting_disk") or facts["disk"]
    free = disk.get("free_bytes")
    if not disk.get("writable", True):
        return Finding(
            subject="disk",
            state="fail",
            found=f"{disk['path']} cannot be written",
            advice="Remount it writable, or name another folder: edgeopt device add ... --root PATH --replace",
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
    if free is None or total is None:
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
