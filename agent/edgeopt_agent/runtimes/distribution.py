"""Versions of installed packages, read from their folders' names: nothing is imported."""

from __future__ import annotations

import os
import re

_SUFFIX = ".dist-info"
_NAME = re.compile(r"[-_.]+")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,40}", re.ASCII)


def version_in(folders: list[str], module: str, distribution: str) -> str | None:
    """Return the version of a distribution beside the module that an import would find, None when there is no such module.

    Args:
        folders: as `sys.path`; the first that has the module counts.
        module: name of the package's folder.
        distribution: its name on the index; case, `-`, `_` and `.` are alike (PEP 503).
    """
    wanted = _normal(distribution)
    for folder in folders:
        if os.path.isdir(os.path.join(folder, module)):
            return _recorded(folder, wanted)
    return None


def _recorded(folder: str, wanted: str) -> str | None:
    """From `<name>-<version>.dist-info` (PEP 376)."""
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return None
    for entry in entries:
        name, dash, version = entry[: -len(_SUFFIX)].partition("-")
        if entry.endswith(_SUFFIX) and dash and _normal(name) == wanted and _VERSION.fullmatch(version):
            return version
    return None


def _normal(name: str) -> str:
    return _NAME.sub("-", name).lower()
