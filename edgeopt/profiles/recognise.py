"""Which kind of board a device is, from what its probe found. Pure.

A name decides: the device tree's, the firmware's revision code, Android's properties. Cores alone never do, since many boards have the same ones; they say what a nameless
board is like, and whether a named one is what it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from edgeopt.domain.device import Profile

PI_TYPES: dict[int, str] = {
    0x08: "Raspberry Pi 3 Model B",
    0x0D: "Raspberry Pi 3 Model B Plus",
    0x0E: "Raspberry Pi 3 Model A Plus",
    0x11: "Raspberry Pi 4 Model B",
    0x12: "Raspberry Pi Zero 2 W",
    0x13: "Raspberry Pi 400",
    0x14: "Raspberry Pi Compute Module 4",
    0x17: "Raspberry Pi 5 Model B",
    0x18: "Raspberry Pi Compute Module 5",
    0x19: "Raspberry Pi 500",
    0x1A: "Raspberry Pi Compute Module 5 Lite",
}
"""Type (bits 4 to 11) of a new-style revision code -> the device tree's words for it, of boards with a 64-bit CPU (Raspberry Pi documentation, "Raspberry Pi revision codes")."""

PI_SOCS = ("BCM2708", "BCM2709", "BCM2710", "BCM2711", "BCM2712", "BCM2835", "BCM2836", "BCM2837")
"""What /proc/cpuinfo says as `Hardware` on a Raspberry Pi; on other boards the revision has another meaning."""

_ABIS = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7l", "armeabi": "armv6l", "x86_64": "x86_64", "x86": "i686"}
_MACHINES = {"arm64": "aarch64", "armv8l": "armv7l", "amd64": "x86_64", "x64": "x86_64"}


class Recognition(msgspec.Struct, frozen=True, kw_only=True):
    """What a device looks like.

    `profile`: the kind of board, the generic one of its architecture, or None with `evidence` saying why. `by`: what decided, the board's own name, its chip's, or its
    architecture. `also`: other profiles that the same name fits, such as a user's own. `alike`: kinds of boards that have such cores, where no name tells more.
    `doubts`: what speaks against it, in sentences.
    """

    profile: str | None
    by: Literal["name", "chip", "architecture", "nothing"]
    evidence: str
    also: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def fits(self) -> tuple[str, ...]:
        """Every profile that is as right as the first."""
        return ((self.profile,) if self.profile else ()) + self.also


def recognise(facts: Mapping[str, Any], profiles: Sequence[Profile]) -> Recognition:
    """Say which kind of board the probe's facts are of.

    What counts is the architecture of the Python that will run the model: a 32-bit system boots a 64-bit kernel on a Pi.

    Args:
        facts: the agent's (docs/wire-protocol.md) or a phone's; whatever is not there is not known.
        profiles: all kinds of boards, built-in ones first.
    """
    system, arch = system_of(facts), architecture(facts)
    fitting = [profile for profile in profiles if profile.os == system and profile.arch == arch]
    named = _named(facts, profiles, system)
    if named is not None:
        found, by, evidence = named
        same = [profile for profile in found if profile in fitting]
        if same:
            doubts = _doubts(facts, same[0], evidence)
            return Recognition(profile=same[0].name, by=by, evidence=evidence, also=_names(same[1:]), doubts=doubts)
        other = f"{evidence}, whose profile `{found[0].name}` is for {_words(found[0].os, found[0].arch)}, and this is {_words(system, arch)}"
        return _generic(fitting, system, arch, other, doubts=(_sentence(other),))
    said = _said(facts) or "nothing names the board"
    return _generic(fitting, system, arch, said, alike=_alike(facts, fitting))


def match_profile(facts: Mapping[str, Any], profiles: Sequence[Profile]) -> str | None:
    """Return the name of the profile that fits what a board's probe found, None when none does."""
    return recognise(facts, profiles).profile


def system_of(facts: Mapping[str, Any]) -> str:
    """Return `android` or `linux`: by what the probe says of the system, or by Android's properties."""
    return "android" if str(facts.get("system")).lower() == "android" or _android(facts) else "linux"


def architecture(facts: Mapping[str, Any]) -> str:
    """Return the architecture of the programs that will run there, in a profile's words: of the board's Python, or of Android's first ABI."""
    abi = _android(facts).get("abi")
    if abi:
        return _ABIS.get(str(abi), str(abi))
    machine = str(facts.get("machine")).lower()
    machine = _MACHINES.get(machine, machine)
    bits = _table(facts, "python").get("bits")
    return {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine) if bits == 32 else machine


def pi_model(revision: object) -> str | None:
    """Return the model that a Raspberry Pi's revision code says, in the device tree's words; None for an old-style, an unknown or no code."""
    text = str(revision or "")
    if re.fullmatch(r"[0-9a-fA-F]{6,8}", text) is None:
        return None
    code = int(text, 16)
    return PI_TYPES.get(code >> 4 & 0xFF) if code >> 23 & 1 else None


def _named(
    facts: Mapping[str, Any], profiles: Sequence[Profile], system: str
) -> tuple[list[Profile], Literal["name", "chip"], str] | None:
    """Return (the profiles of that name, what kind of name, in words), by the most particular name that any profile knows."""
    if system == "android":
        return _named_by_properties(_android(facts), profiles)
    board = _table(facts, "board")
    for compatible in _strings(board.get("dt_compatible")):
        found = [p for p in profiles if any(_is_compatible(compatible, known) for known in p.match.dt_compatible)]
        if found:
            return found, "name", f"its device tree says {compatible!r}"
    hardware = _table(board, "cpuinfo")
    revised = pi_model(hardware.get("revision")) if _is_pi(hardware) else None
    models = (
        (board.get("dt_model"), "its device tree says {!r}"),
        (hardware.get("model"), "/proc/cpuinfo says {!r}"),
        (revised, "its revision code says {!r}"),
    )
    for model, evidence in models:
        found = [p for p in profiles if any(_begins(str(model), known) for known in p.match.dt_model)]
        if model and found:
            return found, "name", evidence.format(str(model))
    return None


def _named_by_properties(
    properties: Mapping[str, Any], profiles: Sequence[Profile]
) -> tuple[list[Profile], Literal["name", "chip"], str] | None:
    """By the phone's model, and where no profile has that, by its chip: phones with the same one compute alike."""
    keys: tuple[tuple[str, str, Literal["name", "chip"], Callable[[Profile], tuple[str, ...]]], ...] = (
        ("model", "ro.product.model", "name", lambda profile: profile.match.product_model),
        ("soc", "ro.soc.model", "chip", lambda profile: profile.match.soc_model),
        ("platform", "ro.board.platform", "chip", lambda profile: profile.match.platform),
    )
    for field, key, by, known in keys:
        value = str(properties.get(field) or "")
        found = [p for p in profiles if value.casefold() in {name.casefold() for name in known(p)}] if value else []
        if found:
            return found, by, f"its {key} is {value!r}"
    return None


def _generic(
    fitting: Sequence[Profile],
    system: str,
    arch: str,
    why: str,
    *,
    alike: tuple[str, ...] = (),
    doubts: tuple[str, ...] = (),
) -> Recognition:
    """Return the generic profile of an architecture; without one, that there is none."""
    wanted = f"android-{'arm64' if arch == 'aarch64' else arch}" if system == "android" else f"generic-{_family(arch)}"
    if any(profile.name == wanted for profile in fitting):
        return Recognition(profile=wanted, by="architecture", evidence=why, alike=alike, doubts=doubts)
    nothing = f"there is no profile for {_words(system, arch)}"
    return Recognition(profile=None, by="nothing", evidence=nothing, doubts=doubts)


def _family(arch: str) -> str:
    return "armv7" if arch == "armv7l" else arch


def _words(system: str, arch: str) -> str:
    bits = {"aarch64": "64-bit ARM", "armv7l": "32-bit ARM", "x86_64": "64-bit x86"}.get(arch, arch)
    return f"{bits} {'Android' if system == 'android' else 'Linux'}"


def _said(facts: Mapping[str, Any]) -> str | None:
    """Return what names the board, where no profile knows that name."""
    board = _table(facts, "board")
    model = _android(facts).get("model") or board.get("dt_model") or _table(board, "cpuinfo").get("model")
    return f"no profile is for {str(model)!r}" if model else None


def _alike(facts: Mapping[str, Any], fitting: Sequence[Profile]) -> tuple[str, ...]:
    """Return the profiles whose kinds of cores are the device's; a board of fewer cores, or whose cores cannot do what these can, is not like it."""
    parts, cpu = _parts(facts), _table(facts, "cpu")
    count, can = cpu.get("cores"), frozenset(_strings(cpu.get("features")))
    alike = [p for p in fitting if parts and _parts_of(p) == parts and can.isdisjoint(p.isa_absent)]
    return _names([p for p in alike if not (isinstance(count, int) and p.cores is not None and count > p.cores)])


def _doubts(facts: Mapping[str, Any], profile: Profile, evidence: str) -> tuple[str, ...]:
    """Return what the cores say against a name; those of an emulator say nothing."""
    if _table(facts, "board").get("virtual"):
        return ()
    known = _parts_of(profile)
    strangers = sorted(_parts(facts) - known)
    if known and strangers:
        has = f"its CPU has cores of part {', '.join(strangers)}, and a {profile.title} has {', '.join(sorted(known))}"
        return (_sentence(f"{evidence}, but {has}"),)
    more = sorted(set(_strings(_table(facts, "cpu").get("features"))) & set(profile.isa_absent))
    if more:
        return (_sentence(f"{evidence}, but its CPU shows {', '.join(more)}, which a {profile.title} does not have"),)
    return ()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _parts(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return the part numbers of the device's cores."""
    return frozenset(part.lower() for part in _strings(_table(facts, "cpu").get("parts")))


def _parts_of(profile: Profile) -> frozenset[str]:
    clusters = (cluster.part.split(":")[1] for cluster in profile.clusters if cluster.part)
    return frozenset(clusters) | frozenset(profile.match.cpu_part)


def _android(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a phone's properties say: `model`, `soc`, `platform`, `abi`; nothing for other systems."""
    return _table(facts, "android")


def _table(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a table of the facts, empty where there is none: they came from the device."""
    found = facts.get(key)
    return found if isinstance(found, Mapping) else {}


def _names(profiles: Sequence[Profile]) -> tuple[str, ...]:
    return tuple(profile.name for profile in profiles)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _is_pi(cpuinfo: Mapping[str, Any]) -> bool:
    return cpuinfo.get("hardware") in PI_SOCS or str(cpuinfo.get("model")).startswith("Raspberry Pi")


def _is_compatible(found: str, known: str) -> bool:
    """Whether a `compatible` string is `known`, or names that module on some carrier: NVIDIA writes `vendor,carrier+module-variant`."""
    if found == known:
        return True
    vendor, _, device = known.partition(",")
    return found.startswith(f"{vendor},") and any(
        part == device or part.startswith(f"{device}-") for part in found.partition(",")[2].split("+")
    )


def _begins(model: str, known: str) -> bool:
    """Whether the device tree's model is `known`, perhaps with a revision; "Model B" is not "Model B Plus"."""
    return re.fullmatch(re.escape(known) + r"( Rev [\d.]+)?( Super)?", model) is not None
