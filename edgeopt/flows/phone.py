"""What is different with a phone: its runtimes are programs that the user brings, and not every program tells the network's answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.domain.device import Device, Profile, RuntimeName
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.observer import Observer
from edgeopt.errors import AgentError, ConfigError, RuntimeMissing
from edgeopt.measure.phone.session import PhoneSession
from edgeopt.measure.phone.tools import TOOLS, tool_of
from edgeopt.measure.session import Session
from edgeopt.measure.ship import Content, Shipped, ship
from edgeopt.store.blobs import file_digest

COMMAND = "command"
"""The runtime of profiles whose devices run what the user brings."""

BRING = (
    "Bring a benchmark program built for Android: edgeopt device add {name} --command /path/to/onnxruntime_perf_test "
    "(and --command .../benchmark_model) ... --replace, then edgeopt device setup {name}. docs/android.md tells where to get them."
)


def is_phone(device: Device) -> bool:
    """Tell whether a device is reached through Android's debug bridge."""
    return device.address.startswith("adb:")


def with_programs(profile: Profile, device: Device) -> Profile:
    """Return the profile with what the device's programs run in the place of `command`; with all that there are programs for when it names none.

    Raises:
        ConfigError: a file that is named is none of the known programs, and no library either.
    """
    if COMMAND not in profile.runtimes:
        return profile
    named = [tool.runtime for path in device.command if (tool := tool_of(Path(path).name)) is not None]
    run: tuple[RuntimeName, ...] = tuple(dict.fromkeys(named or [tool.runtime for tool in TOOLS]))
    others = tuple(name for name in profile.runtimes if name != COMMAND)
    return msgspec.structs.replace(profile, runtimes=tuple(dict.fromkeys((*others, *run))))


def describe_network(session: Session, model: ModelInfo) -> None:
    """Tell a phone's session what goes in and comes out; a board's agent sees that in the model."""
    if isinstance(session, PhoneSession):
        session.describe(model.inputs, model.outputs)


def refuse_unchecked(facts: dict[str, Any], device: Device, runtimes: Sequence[str], *, accept: bool) -> None:
    """Before minutes are spent on a deploy: can what is installed be checked on the device?

    Raises:
        AgentError: unchecked, no program there tells the network's answers, and the user has not said that this is enough.
    """
    found = [item for item in facts.get("runtimes") or () if item.get("name") in runtimes]
    if accept or not found or any(item.get("answers", True) for item in found):
        return
    raise unchecked(device, "none of its programs gives the network's answers")


def unchecked(device: Device, why: str) -> AgentError:
    """Return the error of an installation that nobody could check."""
    return AgentError(
        f"{device.name}: what would be installed cannot be checked on the phone: {why}",
        hint="benchmark_model of a newer LiteRT gives them. Or accept what this computer's own comparison says: --accept-unchecked, or accept_unchecked = true under [goal]. "
        "`edgeopt bench` measures without installing.",
        code="unchecked",
    )


def set_up(
    device: Device, session: Session, contents: Sequence[Content], observer: Observer
) -> tuple[str, str, Shipped]:
    """Bring the user's programs to a phone. The session holds the lock.

    Returns:
        (what works there and in which version, key, what the upload cost).

    Raises:
        RuntimeMissing: none starts there.
    """
    shipped = ship(session, contents, observer)
    files = [{"path": c.label, "digest": c.digest, "bytes": c.bytes} for c in contents]
    reply = session.call("runtime", {"name": COMMAND, "version": "given", "files": files}, timeout_s=600.0)
    facts = session.call("probe", {})
    works = [item for item in facts["runtimes"] if item["key"] == reply["key"]]
    if not works:
        reasons = "; ".join(str(facts["runtimes_reason"].get(tool.runtime, "")) for tool in _tools(contents))
        raise RuntimeMissing(
            f"{device.name}: {reasons}",
            hint="It must be built for Android and for this phone's CPU (arm64-v8a); libraries that it needs are named with --command, too.",
        )
    return ", ".join(f"{item['name']} {item['version']}" for item in works), str(reply["key"]), shipped


def _tools(contents: Sequence[Content]) -> list[Any]:
    return [tool for content in contents if (tool := tool_of(content.label)) is not None]


def programs_of(device: Device) -> list[Content]:
    """Return the files that the device's `command` names.

    Raises:
        RuntimeMissing: it names none.
        ConfigError: a file is not there, or none is a program that edgeopt knows.
    """
    if not device.command:
        raise RuntimeMissing(
            f"{device.name}: a phone has no Python, and no program is named that could run a network there",
            hint=BRING.format(name=device.name),
        )
    paths = [Path(path).expanduser() for path in device.command]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(f'device "{device.name}": command: {missing[0]} is not there')
    contents = [
        Content(digest=file_digest(path), bytes=path.stat().st_size, path=path, label=path.name) for path in paths
    ]
    if not _tools(contents):
        known = ", ".join(tool.name for tool in TOOLS)
        raise ConfigError(
            f'device "{device.name}": command: none of {", ".join(c.label for c in contents)} is a program that edgeopt knows',
            hint=f"Known by their names are: {known} (the name may have more around it).",
        )
    return contents
