"""TOML in, records out; and the only place where a decoder's complaint becomes a sentence for people.

A complaint names the file, the key, what was found and what is allowed. The types of the records say what is allowed, so no rule is written twice.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from edgeopt.errors import ConfigError
from edgeopt.profiles.allowed import child_type, field_names, words

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover  # Python 3.10
    import tomli as tomllib

T = TypeVar("T")
Key = str | int

MAX_FILE_BYTES = 1 << 20
_LOCK = threading.Lock()
"""msgspec 0.22 crashes when two threads decode into a type that neither has used before."""
_AT = re.compile(r"^(?P<text>.*) - at `\$(?P<path>[^`]*)`$", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_SYNTAX = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


def read_toml(path: Path, kind: type[T], *, source: str | None = None) -> T:
    """Read a file into a record. `source` is what messages call the file (its name when None).

    Raises:
        ConfigError: not there, unreadable, too large, not TOML, or not what the record allows.
    """
    return decode(read_table(path, source=source), kind, source=path.name if source is None else source)


def read_table(path: Path, *, source: str | None = None) -> dict[str, Any]:
    """Read a file as plain data. `source` is what messages call the file (its name when None).

    Raises:
        ConfigError: not there, unreadable, too large, or not TOML.
    """
    source = path.name if source is None else source
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{source}: is larger than {MAX_FILE_BYTES:,} bytes")
    return parse_toml(content, source=source)


def decode_toml(content: bytes, kind: type[T], *, source: str) -> T:
    """Decode TOML into a record.

    Raises:
        ConfigError: not TOML (with line and column), or not what the record allows.
    """
    return decode(parse_toml(content, source=source), kind, source=source)


def parse_toml(content: bytes, *, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ConfigError: not TOML, with line and column.
    """
    try:
        table: dict[str, Any] = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}: line {line}: not UTF-8 text") from error
    except ValueError as error:
        raise ConfigError(f"{source}: {_syntax(str(error))}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    return table


def decode(data: Any, kind: type[T], *, source: str) -> T:
    """Turn plain data (as TOML gives it) into a record.

    Raises:
        ConfigError: not what the record allows.
    """
    for path, number in _numbers(data, ()):
        if not math.isfinite(number):
            raise ConfigError(f"{source}: {dotted(path)}: found {shown(number)}, allowed: a finite number")
    try:
        with _LOCK:
            return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), data, kind)}") from error


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean "x"?` when a known name is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def dotted(path: tuple[Key, ...]) -> str:
    """A key as a person would write it: `device[0].name`, `shapes."a b"`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if re.fullmatch(r"[A-Za-z0-9_-]+", step) else json.dumps(step, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def shown(value: Any) -> str:
    """A value with the name of its TOML type, shortened: `1.7 (float)`."""
    kinds = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array", dict: "table"}
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        text = "a very long number"
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({kinds.get(type(value), 'date or time')})"


def _syntax(message: str) -> str:
    """The TOML reader's complaint with the place in front."""
    match = _SYNTAX.match(message)
    if match is None:
        return message
    text, line, column = match.groups()
    return f"line {line}, column {column}: {text}" if line else f"at its end: {text}"


def _numbers(data: Any, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], float]]:
    """Every float in the data, with its path."""
    if isinstance(data, float):
        yield path, data
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from _numbers(value, (*path, key))


def _explain(message: str, data: Any, kind: type[Any]) -> str:
    """One sentence from msgspec's complaint."""
    match = _AT.match(message)
    text, steps = (match["text"], _steps(match["path"])) if match else (message, [])
    path = _concrete(data, steps, lambda trial: _complaint(trial, kind) == message)
    node = inspect.type_info(kind)
    value = data
    for step in path:
        node, value = child_type(node, step), value[step]
    prefix = f"{dotted(path)}: " if path else ""
    if unknown := _UNKNOWN.fullmatch(text):
        return _unknown_key(unknown[1], path, field_names(node))
    if missing := _MISSING.fullmatch(text):
        return f"{dotted((*path, missing[1]))}: missing, allowed: {words(child_type(node, missing[1]))}"
    if text.startswith(("Expected ", "Invalid enum value ")):
        return f"{prefix}found {shown(value)}, allowed: {words(node)}"
    return f"{prefix}{text}"


def _unknown_key(name: str, path: tuple[Key, ...], known: list[str]) -> str:
    return f"{dotted((*path, name))}: unknown key, allowed: {', '.join(known)}{nearest(name, known)}"


def _steps(path: str) -> list[Key | None]:
    """`.goal.x[0][...]` as keys; None stands for msgspec's `[...]`, some key of a table."""
    steps: list[Key | None] = []
    for match in _STEP.finditer(path):
        index = match["index"]
        steps.append(match["name"] if index is None else None if index == "..." else int(index))
    return steps


def _concrete(data: Any, steps: list[Key | None], same: Callable[[Any], bool]) -> tuple[Key, ...]:
    """The path with every `[...]` replaced by the key that is to blame: the one that alone gives the same complaint."""
    path: tuple[Key, ...] = ()
    value = data
    for step in steps:
        key = step if step is not None else next(key for key in value if same(_put(data, path, {key: value[key]})))
        path, value = (*path, key), value[key]
    return path


def _put(data: Any, path: tuple[Key, ...], value: Any) -> Any:
    """A copy of the data with `value` at `path`."""
    if not path:
        return value
    copy = data.copy()
    copy[path[0]] = _put(data[path[0]], path[1:], value)
    return copy


def _complaint(data: Any, kind: type[Any]) -> str | None:
    """What msgspec says of the data, None when nothing."""
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return None
