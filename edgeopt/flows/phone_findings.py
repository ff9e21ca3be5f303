"""What `doctor` says of a phone: rules from the session's facts to findings, each with what to do about a lack. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeopt.domain.device import Device, Profile
from edgeopt.flows.finding import Finding
from edgeopt.flows.phone import BRING, with_programs
from edgeopt.measure.phone.tools import TOOLS

WARM_C = 38.0
"""A battery above this is warm enough for phones to slow down soon; at rest it is near the room's temperature."""
LOW_PERCENT = 20
NEEDED = ("sha256sum", "flock", "stat", "readlink", "timeout")
"""Commands without which nothing goes; Android 8 has them all."""


def judge_phone(
    facts: dict[str, Any], device: Device, profile: Profile, generic: Sequence[Finding]
) -> tuple[Finding, ...]:
    """Turn a phone's facts into findings: those of any board that hold for it, and its own.

    Args:
        facts: of the session's probe.
        device: as the inventory has it.
        profile: the kind of phone that the inventory says it is.
        generic: what is said of any board: of these, the runtime, the sensors and the governor mean something else here.
    """
    kept = [finding for finding in generic if finding.subject not in ("runtime", "sensors", "governor", "board")]
    board = next((finding for finding in generic if finding.subject == "board"), None)
    return (
        _phone(facts, board),
        *_programs_there(facts, device, profile),
        *kept,
        _heat(facts),
        _battery(facts),
        *_lacks(facts),
    )


def _phone(facts: dict[str, Any], board: Finding | None) -> Finding:
    about = facts["android"]
    named = " ".join(str(about[key]) for key in ("manufacturer", "model") if about.get(key)) or "a phone"
    found = f"{named}, Android {about.get('release') or '?'} (API {about.get('sdk') or '?'}), {about.get('abi') or facts['machine']}, {facts['cpu'].get('cores')} cores"
    advice = None if board is None else board.advice
    return Finding(subject="phone", state="warn" if advice else "ok", found=found, advice=advice)


def _programs_there(facts: dict[str, Any], device: Device, profile: Profile) -> tuple[Finding, ...]:
    there = {item["name"]: item for item in facts["runtimes"]}
    wanted = with_programs(profile, device).runtimes
    known = [tool for tool in TOOLS if tool.runtime in wanted or tool.runtime in there]
    if not there:
        why = "; ".join(str(facts["runtimes_reason"].get(tool.runtime)) for tool in known)
        return (Finding(subject="program", state="fail", found=why, advice=BRING.format(name=device.name)),)
    return tuple(
        _program(there.get(tool.runtime), tool.name, facts["runtimes_reason"].get(tool.runtime), device)
        for tool in known
    )


def _program(item: dict[str, Any] | None, name: str, reason: str | None, device: Device) -> Finding:
    if item is None:
        return Finding(subject="program", state="warn", found=str(reason), advice=BRING.format(name=device.name))
    if item["answers"]:
        return Finding(subject="program", state="ok", found=f"{name} {item['version']}, gives the network's answers")
    return Finding(
        subject="program",
        state="warn",
        found=f"{name} {item['version']}",
        advice="It times, but does not give the network's answers: they are compared on this computer only, and a deploy needs --accept-unchecked.",
    )


def _heat(facts: dict[str, Any]) -> Finding:
    names = [sensor["name"] for sensor in facts["sensors"]["temperature"]]
    if not names:
        return Finding(
            subject="sensors",
            state="unknown",
            found="no temperature can be read",
            advice="Throttling is not seen then: let the phone rest between runs.",
        )
    return Finding(subject="sensors", state="ok", found=f"temperature: {', '.join(names[:4])}; no power sensor")


def _battery(facts: dict[str, Any]) -> Finding:
    battery = facts["battery"]
    level, degrees = battery.get("level_percent"), battery.get("temperature_c")
    if level is None:
        return Finding(subject="battery", state="unknown", found=str(battery.get("level_percent_reason")))
    found = f"{level} %, {battery.get('charging') or 'unknown whether it is charged'}" + (
        f", {degrees:g} degrees" if degrees is not None else ""
    )
    warm = degrees is not None and degrees > WARM_C
    low = level < LOW_PERCENT
    advice = (
        "Phones slow down when they are warm: let it cool."
        if warm
        else "Phones save power when the battery is low: charge it."
        if low
        else None
    )
    return Finding(subject="battery", state="warn" if advice else "ok", found=found, advice=advice)


def _lacks(facts: dict[str, Any]) -> tuple[Finding, ...]:
    lacks = [str(name) for name in facts.get("lacks") or ()]
    needed = [name for name in lacks if name in NEEDED]
    if needed:
        return (
            Finding(
                subject="shell",
                state="fail",
                found=f"the phone's shell has no {', '.join(needed)}",
                advice="Android 8 and later have them; an older phone cannot be measured.",
            ),
        )
    return ()
