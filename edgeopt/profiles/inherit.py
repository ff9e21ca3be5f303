"""`extends`: a profile that is another one with some fields changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeopt.errors import ConfigError
from edgeopt.profiles.decode import nearest, shown

KEY = "extends"
OWN = ("name", "aliases")
"""Fields that say which profile it is: nobody inherits them."""


def inherited(
    name: str, read: Callable[[Path], dict[str, Any]], files: Mapping[str, tuple[Path, ...]]
) -> dict[str, Any]:
    """Return a profile's table with what it extends merged in, and without `extends`.

    Args:
        name: of the profile; its own where the file names none.
        read: gives a file's table.
        files: profile -> its files, the one that counts first; a user's `pi4` that extends `pi4` means the built-in one behind it.

    Raises:
        ConfigError: `extends` names no profile, or goes in a circle; or a file is wrong.
    """
    chain: list[tuple[str, Path]] = []
    table: dict[str, Any] = {}
    path, next_name = files[name][0], name
    while True:
        if (next_name, path) in chain:
            circle = " -> ".join([*(step for step, _ in chain), next_name])
            raise ConfigError(f"profile {chain[0][1].name}: {KEY}: goes in a circle: {circle}")
        chain.append((next_name, path))
        own = read(path)
        base = own.pop(KEY, None)
        table = merged(own if len(chain) == 1 else _without_own(own), table)
        if base is None:
            return {"name": name} | table
        path = _file_of(base, path, files)
        next_name = str(base)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with the fields of `above` in their place; tables are merged by key, anything else is replaced."""
    both = dict(below)
    for key, value in above.items():
        lower = both.get(key)
        both[key] = merged(lower, value) if isinstance(lower, Mapping) and isinstance(value, Mapping) else value
    return both


def _without_own(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in OWN}


def _file_of(base: object, path: Path, files: Mapping[str, tuple[Path, ...]]) -> Path:
    """Return the file that a profile extends: the first of that name, or the one behind it when that is the profile itself."""
    source = f"profile {path.name}"
    if not isinstance(base, str):
        raise ConfigError(f"{source}: {KEY}: found {shown(base)}, allowed: a profile's name")
    candidates = files.get(base, ())
    if path in candidates:
        candidates = candidates[candidates.index(path) + 1 :] or candidates[:1]
    if not candidates:
        known = sorted(files)
        raise ConfigError(
            f'{source}: {KEY}: found "{base}", allowed: a profile\'s name ({", ".join(known)}){nearest(base, known)}'
        )
    return candidates[0]
