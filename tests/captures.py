"""Recordings of boards and phones as facts of a probe, each with the profile that would be right. The recordings are not part of the project (see `shared_testdata`)."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edgeopt.profiles.recognise import Recognition
from edgeopt_agent.probes.board import parse_identity
from edgeopt_agent.probes.cpu import parse_cpuinfo

GENERIC = {"aarch64": "generic-aarch64", "armv7l": "generic-armv7", "x86_64": "generic-x86_64"}
"""Right for a board or a phone's CPU of which nothing but /proc/cpuinfo is known; no profile is for other architectures."""

OF_PHONE = {"pixel-8": "pixel-8"}
"""Right for a phone whose properties are known; for all others that are 64-bit ARM, `android-arm64`."""

SNAPDRAGON_8GEN2 = "arm-A510-A710-A715-X3"


class Case(NamedTuple):
    """A recording. `right`: the profile that should be found. `really`: the most particular profile that is true of it, which a nameless recording need not reveal."""

    group: str
    name: str
    facts: dict[str, Any]
    right: str | None
    really: str | None


def outcome(case: Case, seen: Recognition) -> str:
    """Return `right`, `ambiguous` (the architecture's profile, with a list of those that have such cores) or `wrong`."""
    if seen.profile != case.right:
        return "wrong"
    if case.really != case.right and case.really not in seen.alike:
        return "wrong"
    return "ambiguous" if seen.alike else "right"


def read_cases(captures: Path) -> list[Case]:
    """Return every recording of a board or a phone below `captures`."""
    return [*_cpuinfos(captures), *_build_props(captures), *_phones(captures), *_trees(captures), *_pc(captures)]


def facts_of(text: str, machine: str, android: dict[str, str | None] | None = None) -> dict[str, Any]:
    """Return a probe's facts from a /proc/cpuinfo, and a phone's properties where there are any."""
    cpu = parse_cpuinfo(text)
    facts: dict[str, Any] = {
        "system": "Linux" if android is None else "Android",
        "machine": machine,
        "python": {"bits": 32 if machine in {"armv7l", "armv6l", "i686"} else 64},
        "cpu": cpu | {"cores": cpu["processors"] or None},
        "board": {"dt_model": None, "dt_compatible": [], "cpuinfo": parse_identity(text)},
    }
    return facts if android is None else facts | {"android": android}


def properties(table: dict[str, str]) -> dict[str, str | None]:
    """Return the facts of a phone from its properties."""
    keys = {
        "model": "ro.product.model",
        "soc": "ro.soc.model",
        "platform": "ro.board.platform",
        "abi": "ro.product.cpu.abi",
    }
    return {field: table.get(key) for field, key in keys.items()}


def machine_of(text: str, name: str) -> str:
    """Return what a program of the recording's kind is built for: `.armeabi` ones were made by a 32-bit program."""
    words = set(text.split())
    if "lm" in words and "GenuineIntel" in words | {"AuthenticAMD"}:
        return "x86_64"
    if "GenuineIntel" in words:
        return "i686"
    if "rv64" in text:
        return "riscv64"
    if ".armeabi" in name or "asimd" not in words:
        return "armv7l" if "neon" in words else "armv6l" if "ARMv6-compatible" in words else "armv7l"
    return "aarch64"


def _cpuinfos(captures: Path) -> Iterator[Case]:
    for path in sorted((captures / "arm_cpuinfo" / "cpuinfo").glob("*.txt")):
        text = path.read_text(errors="replace")
        machine = machine_of(text, path.name)
        right = GENERIC.get(machine)
        yield Case("cpuinfo", path.stem, facts_of(text, machine), right, right)


def _build_props(captures: Path) -> Iterator[Case]:
    """The phones of which both files are there."""
    for path in sorted((captures / "arm_cpuinfo" / "build_prop").glob("*.txt")):
        lines = path.read_text(errors="replace").splitlines()
        table = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        text = (captures / "arm_cpuinfo" / "cpuinfo" / path.name).read_text(errors="replace")
        yield _phone("cpuinfo and build.prop", path.stem, text, properties(table))


def _phones(captures: Path) -> Iterator[Case]:
    """Each phone as a 64-bit and as a 32-bit program sees it; then without its names, as if nobody had asked for its properties."""
    for path in sorted((captures / "phone_sysfs").glob("*.json")):
        recorded = json.loads(path.read_text())
        table = {key: value for part in recorded["android_properties"].values() for key, value in part.items()}
        for abi, files in recorded["files"].items():
            text = files.get("/proc/cpuinfo")
            if text is not None:
                yield _phone("phone tree", f"{path.stem} ({abi})", text, properties(table), path.stem)
                nameless = properties(table) | {"model": None, "soc": None, "platform": None}
                yield _phone("phone tree, nameless", f"{path.stem} ({abi})", text, nameless, path.stem)


def _phone(group: str, name: str, text: str, android: dict[str, str | None], device: str = "") -> Case:
    is_64 = android["abi"] == "arm64-v8a"
    really = OF_PHONE.get(device, "android-arm64") if is_64 else None
    right = really if android["model"] else "android-arm64" if is_64 else None
    return Case(group, name, facts_of(text, "aarch64" if is_64 else "armv7l", android), right, really)


def _trees(captures: Path) -> Iterator[Case]:
    for path in sorted((captures / "lscpu_dumps").glob("*.tar.gz")):
        name = path.name.removesuffix(".tar.gz")
        with tarfile.open(path) as archive:
            member = next(m for m in archive if m.name.endswith("proc/cpuinfo"))
            stream = archive.extractfile(member)
            text = stream.read().decode(errors="replace") if stream else ""
        machine = machine_of(text, name)
        right = GENERIC.get(machine)
        yield Case("lscpu tree", name, facts_of(text, machine), right, right)
        if name == SNAPDRAGON_8GEN2:
            nameless = properties({"ro.product.cpu.abi": "arm64-v8a"})
            yield Case(
                "lscpu tree, as Android", name, facts_of(text, machine, nameless), "android-arm64", "snapdragon-8gen2"
            )


def _pc(captures: Path) -> Iterator[Case]:
    text = (captures / "node_exporter" / "proc" / "cpuinfo").read_text(errors="replace")
    yield Case("PC", "node_exporter", facts_of(text, machine_of(text, "")), "generic-x86_64", "generic-x86_64")
