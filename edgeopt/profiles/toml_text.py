"""The little TOML that edgeopt writes: strings, whole numbers, numbers, booleans and lists of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

Scalar = str | int | float | bool


def toml_value(value: Scalar | Sequence[Scalar]) -> str:
    """The value as TOML 1.0 source on one line.

    Raises:
        ValueError: a string that is not Unicode text (a lone surrogate), or a number that is not finite.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    return "[" + ", ".join(toml_value(item) for item in value) + "]"


def _string(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, except that TOML wants DEL escaped too."""
    text.encode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _number(value: float) -> str:
    """`repr`, the shortest text that reads back equal; TOML wants digits on both sides of a point, which it has."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return repr(value)
