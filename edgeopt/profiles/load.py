"""Profiles: kinds of boards. Built in, or the user's own, which override the built-in ones of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from edgeopt.domain.device import Profile
from edgeopt.errors import ConfigError, UnknownName
from edgeopt.profiles.decode import decode, nearest, read_table
from edgeopt.profiles.inherit import inherited

FOLDER = "device_profiles"
SYSTEMS = "systems"
"""Below it: operating systems of boards, which many profiles share."""


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
    """All profiles by name, each once; not by names that they had before.

    Args:
        user_dir: the user's own profiles; may be absent.

    Raises:
        ConfigError: a profile is wrong.
    """
    files = _files(user_dir)
    return tuple(_read(name, files) for name in sorted(files))


def load_profile(name: str, user_dir: Path | None = None) -> Profile:
    """One profile by name, or by a name that it had before.

    Raises:
        UnknownName: unknown-profile; the message lists the known ones.
        ConfigError: the profile is wrong.
    """
    files = _files(user_dir)
    if name in files:
        return _read(name, files)
    for profile in list_profiles(user_dir):
        if name in profile.aliases:
            return profile
    known = sorted(files)
    message = f'no profile "{name}"{nearest(name, known) or "."} Known: {", ".join(known)}.'
    raise UnknownName(message, hint="See `edgeopt profiles`.", code="unknown-profile")


def _files(user_dir: Path | None) -> dict[str, tuple[Path, ...]]:
    """Profile files by name; the user's stand over the built-in ones, which come last."""
    found: dict[str, tuple[Path, ...]] = {}
    for folder in (builtin_profile_dir(), user_dir):
        if folder is not None and folder.is_dir():
            for path in folder.glob("*.toml"):
                found[path.stem] = (path, *found.get(path.stem, ()))
    return found


def _read(name: str, files: Mapping[str, tuple[Path, ...]]) -> Profile:
    source = f"profile {files[name][0].name}"
    table = inherited(name, lambda path: read_table(path, source=f"profile {path.name}"), files)
    profile = decode(with_systems(table, source), Profile, source=source)
    if profile.name != name:
        raise ConfigError(f'{source}: name: found "{profile.name}", allowed: the file\'s own name, "{name}"')
    return profile


def with_systems(table: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a profile's table with the names of systems replaced by what is known of them.

    Raises:
        ConfigError: a system of that name is not known, or its file is wrong.
    """
    systems = table.get("systems")
    if not isinstance(systems, list):
        return table
    folder = builtin_profile_dir() / SYSTEMS
    known = {path.stem: path for path in folder.glob("*.toml")}
    described: list[Any] = []
    for index, system in enumerate(systems):
        if isinstance(system, str) and system not in known:
            raise ConfigError(
                f'{source}: systems[{index}]: found "{system}", allowed: a table, or one of {", ".join(sorted(known))}{nearest(system, sorted(known))}'
            )
        described.append(
            read_table(known[system], source=f"system {system}") | {"name": system}
            if isinstance(system, str)
            else system
        )
    return table | {"systems": described}
