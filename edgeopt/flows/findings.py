"""What `doctor` says of a device: rules from the agent's facts to findings, each with what to do about a lack. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from edgeopt.domain.device import Device, Profile
from edgeopt.errors import RuntimeMissing
from edgeopt.flows.connect import runtime_site
from edgeopt.measure.wheels import device_python
from edgeopt.profiles.load import match_profile


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `doctor` looked at. `advice` says what to do about a lack."""

    subject: str
    state: Literal["ok", "warn", "fail", "unknown"]
    found: str
    advice: str | None = None


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
        _board(facts, device, known),
        _runtime(facts, device),
        _isa(facts, profile),
        _sensors(facts),
        _disk(facts),
        _memory(facts),
        _clock(facts),
        _governor(facts),
    )


def _board(facts: dict[str, Any], device: Device, known: Sequence[Profile]) -> Finding:
    cpu, board = facts["cpu"], facts["board"]
    found = f"{board.get('dt_model') or cpu.get('model') or facts['machine']}, {cpu.get('cores')} cores, {facts['system']} {facts['kernel']}"
    seen = match_profile(facts, known)
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
        found = f"no onnxruntime for {device_python(facts)}"
        return Finding(subject="runtime", state="fail", found=found, advice=error.hint)
    return Finding(
        subject="runtime",
        state="ok",
        found=f"onnxruntime {version} ({'shipped by edgeopt' if site else 'of its Python'})",
    )


def _isa(facts: dict[str, Any], profile: Profile) -> Finding:
    features = set(facts["cpu"].get("features") or ())
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
    disk = facts["disk"]
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
