"""Reads the arguments of a request: every value is of the right type, within bounds, and names what it may name, or the request is `bad-request`."""

from __future__ import annotations

import math
import os
import re

from edgeopt_agent.errors import AgentError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_PATH_BYTES = 200
_MAX_TEXT = 500
MAX_BYTES = 1 << 50


def is_name(text: object) -> bool:
    """Say whether `text` is a plain name: an app, a folder, a file."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_digest(text: object) -> bool:
    """Say whether `text` is a sha256 in lower-case hex."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def is_file_path(text: object) -> bool:
    """Say whether `text` is a relative path of plain names, at most 200 bytes; `..` is not a plain name."""
    return isinstance(text, str) and len(text) <= _MAX_PATH_BYTES and all(is_name(part) for part in text.split("/"))


def is_count(value: object) -> bool:
    """Say whether `value` is a whole number of bytes (JSON's true is not one)."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_BYTES


class Arguments:
    """The arguments of one request. Each method reads one field and raises `bad-request` naming it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def text(self, field: str, *, default: str | None = None) -> str:
        """Return a short printable text."""
        value = self.values.get(field, default)
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise _bad(field, "a text of at most 500 characters", value)
        return printable(value, limit=_MAX_TEXT)

    def choice(self, field: str, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed words."""
        value = self.values.get(field)
        if value not in allowed or not isinstance(value, str):
            raise _bad(field, "one of " + ", ".join(allowed), value)
        return value

    def name(self, field: str) -> str:
        """Return a plain name."""
        value = self.values.get(field)
        if not isinstance(value, str) or not is_name(value):
            raise _bad(field, "a name of letters, digits, '.', '_' and '-'", value)
        return value

    def digest(self, field: str) -> str:
        """Return a sha256 in lower-case hex."""
        value = self.values.get(field)
        if not isinstance(value, str) or not is_digest(value):
            raise _bad(field, "64 lower-case hex digits", value)
        return value

    def digests(self, field: str) -> list[str]:
        """Return a list of sha256."""
        value = self.values.get(field)
        if not isinstance(value, list) or not all(is_digest(item) for item in value):
            raise _bad(field, "a list of 64 lower-case hex digits", value)
        return value

    def count(self, field: str) -> int:
        """Return a number of bytes, 0 or more."""
        value = self.values.get(field)
        if not isinstance(value, int) or not is_count(value):
            raise _bad(field, "a whole number, 0 or more", value)
        return value

    def number(self, field: str, low: float, high: float, *, default: float | None = None) -> float:
        """Return a number within [low, high]."""
        value = self.values.get(field, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not (math.isfinite(value) and low <= value <= high)
        ):
            raise _bad(field, f"a number from {low:g} to {high:g}", value)
        return value

    def mapping(self, field: str) -> dict[str, Any]:
        """Return an object."""
        value = self.values.get(field)
        if not isinstance(value, dict):
            raise _bad(field, "an object", value)
        return value

    def files(self, field: str) -> list[dict[str, Any]]:
        """Return a list of {path, digest, bytes} with distinct paths, none of which is the folder of another."""
        value = self.values.get(field)
        problem = files_problem(value)
        if problem is not None:
            raise AgentError("bad-request", f"{field}: {problem}", field=field)
        assert isinstance(value, list)  # noqa: S101
        return value

    def inside(self, field: str, *roots: str) -> str:
        """Return an existing absolute path that lies inside one of `roots` after links are followed."""
        value = self.values.get(field)
        if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value or len(value) > 4096:
            raise _bad(field, "an absolute path", value)
        try:
            real = os.path.realpath(value)
        except (OSError, ValueError) as error:
            raise _bad(field, "a path", value) from error
        if not any(is_inside(real, root) for root in roots):
            raise _bad(field, "a path inside of " + " or ".join(roots), value)
        if not os.path.exists(real):
            raise AgentError("bad-request", f"{field}: there is no {value}", field=field)
        return real


def is_inside(real: str, root: str) -> bool:
    """Say whether a resolved path lies inside of `root`."""
    base = os.path.realpath(root)
    return real.startswith(base.rstrip("/") + "/")


def files_problem(value: object) -> str | None:
    """Say what is wrong with a list of files, or None."""
    if not isinstance(value, list) or not 1 <= len(value) <= 10_000:
        return "not a list of 1 to 10000 files"
    for item in value:
        if not isinstance(item, dict) or not is_file_path(item.get("path")):
            found = item.get("path") if isinstance(item, dict) else item
            return f"{printable(repr(found), limit=80)} is not a relative path of plain names"
        if not is_digest(item.get("digest")) or not is_count(item.get("bytes")):
            return f"{item['path']} has no digest or size"
    paths = {item["path"] for item in value}
    if len(paths) != len(value):
        return "a path appears twice"
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:n]) in paths for n in range(1, len(parts))):
            return f"{path} lies in a file"
    return None


def _bad(field: str, wanted: str, found: object) -> AgentError:
    shown = "nothing" if found is None else printable(repr(found), limit=80)
    return AgentError("bad-request", f"{field}: wanted {wanted}, found {shown}", field=field)
