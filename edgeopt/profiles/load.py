"""Profiles: kinds of boards. Built in, or the user's own, which override the built-in ones of the same name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from edgeopt.domain.device import Profile
from edgeopt.errors import ConfigError, UnknownName
from edgeopt.profiles.decode import nearest, read_toml

FOLDER = "device_profiles"


def builtin_profile_dir(package: Path | None = None) -> Path:
    """The folder of the built-in profiles: inside the package in an installed wheel, beside it in a source tree or editable install.

    Args:
        package: the folder of the `edgeopt` package; its own when None.

    Raises:
        ConfigError: neither is there; the installation is damaged.
    """
    package = Path(str(resources.files("edgeopt"))) if package is None else package
    for folder in (package / FOLDER, package.parent / FOLDER):
        if folder.is_dir():
            return folder
    raise ConfigError(f"{package / FOLDER}: the built-in profiles are missing", hint="Install edgeopt again.")


def list_profiles(user_dir: Path | None = None) -> tuple[Profile, ...]:
    """All profiles by name.

    Args:
        user_dir: the user's own profiles; may be absent.

    Raises:
        ConfigError: a profile is wrong.
    """
    return tuple(_read(path) for _, path in sorted(_files(user_dir).items()))


def load_profile(name: str, user_dir: Path | None = None) -> Profile:
    """One profile by name.

    Raises:
        UnknownName: unknown-profile; the message lists the known ones.
        ConfigError: the profile is wrong.
    """
    files = _files(user_dir)
    if name not in files:
        known = sorted(files)
        message = f'no profile "{name}"{nearest(name, known) or "."} Known: {", ".join(known)}.'
        raise UnknownName(message, hint="See `edgeopt profiles`.", code="unknown-profile")
    return _read(files[name])


def match_profile(facts: Mapping[str, Any], profiles: Sequence[Profile]) -> str | None:
    """The profile that fits what a board's probe found, None when none does.

    A board says what it is in its device tree, the most particular string first; a part number of a CPU alone says too little to go by when
    the tree names another board. Without a match the generic profile of the architecture stands. What counts is the architecture of the
    Python that will run the model: a 32-bit system boots a 64-bit kernel on a Pi.
    """
    arch = _arch(facts)
    fitting = [profile for profile in profiles if profile.arch == arch]
    board = facts.get("board") or {}
    for compatible in board.get("dt_compatible") or ():
        for profile in fitting:
            if compatible in profile.match.dt_compatible:
                return profile.name
    model = board.get("dt_model") or ""
    for profile in fitting:
        if any(_begins(model, known) for known in profile.match.dt_model):
            return profile.name
    return next((profile.name for profile in fitting if profile.name == f"generic-{arch}"), None)


def _begins(model: str, known: str) -> bool:
    """Whether the device tree's model is `known`, perhaps with a revision; "Model B" is not "Model B Plus"."""
    return re.fullmatch(re.escape(known) + r"( Rev [\d.]+)?( Super)?", model) is not None


def _arch(facts: Mapping[str, Any]) -> str:
    """The architecture of the board's Python, in a profile's words."""
    machine = str(facts.get("machine"))
    bits = (facts.get("python") or {}).get("bits")
    if machine in {"aarch64", "arm64"}:
        return "armv7l" if bits == 32 else "aarch64"
    return "x86_64" if machine.lower() == "amd64" else machine


def _files(user_dir: Path | None) -> dict[str, Path]:
    """Profile files by name; the user's stand over the built-in ones."""
    folders = [builtin_profile_dir(), *([user_dir] if user_dir is not None and user_dir.is_dir() else [])]
    return {path.stem: path for folder in folders for path in folder.glob("*.toml")}


def _read(path: Path) -> Profile:
    profile = read_toml(path, Profile, source=f"profile {path.name}")
    if profile.name != path.stem:
        raise ConfigError(
            f'profile {path.name}: name: found "{profile.name}", allowed: the file\'s own name, "{path.stem}"'
        )
    return profile
