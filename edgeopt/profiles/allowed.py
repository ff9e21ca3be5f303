"""What a type allows, in words, for messages. Covers the types that edgeopt's settings are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec import inspect

from edgeopt.domain.device import Name

_NAME = inspect.type_info(Name)


def words(node: inspect.Type) -> str:
    """The values that a type allows, as a phrase: `a number from 0 to 1`."""
    return _PHRASES.get(type(node), lambda _: "a table")(node)


def child_type(node: inspect.Type, step: str | int) -> inspect.Type:
    """The type one step down: a field, an item of a list, a value of a table."""
    for part in node.types if isinstance(node, inspect.UnionType) else (node,):
        if isinstance(part, inspect.StructType):
            return next(field.type for field in part.fields if field.encode_name == step)
        if isinstance(part, inspect.DictType):
            return part.value_type
        if isinstance(part, inspect.VarTupleType):
            return part.item_type
        if isinstance(part, inspect.TupleType) and isinstance(step, int):
            return part.item_types[step]
    raise LookupError(f"{type(node).__name__} has no {step!r}")


def field_names(node: inspect.Type) -> list[str]:
    """Names of a record's fields, in its order; none for other types."""
    parts = node.types if isinstance(node, inspect.UnionType) else (node,)
    return [field.encode_name for part in parts if isinstance(part, inspect.StructType) for field in part.fields]


def _bounds(node: inspect.IntType | inspect.FloatType) -> str:
    """Limits of a number."""
    if node.ge is not None and node.le is not None:
        return f" from {node.ge} to {node.le}"
    pairs = (("above", node.gt), ("of at least", node.ge), ("below", node.lt), ("of at most", node.le))
    limits = [f"{word} {limit}" for word, limit in pairs if limit is not None]
    return " " + " and ".join(limits) if limits else ""


def _length(node: inspect.VarTupleType) -> str:
    """Limits of a list's length."""
    low, high = node.min_length, node.max_length
    if low is not None and high is not None:
        return f" of {low}" if low == high else f" of {low} to {high}"
    return f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""


def _text(node: inspect.StrType) -> str:
    """Limits of a string."""
    if node == _NAME:
        return "a name of at most 63 letters, digits, '.', '_' and '-' that begins with a letter or digit"
    if node.pattern is not None:
        return f"text that matches {node.pattern}"
    return "text that is not empty" if node.min_length else "text"


def _either(node: inspect.UnionType) -> str:
    """Alternatives; absent is always allowed and not worth a word."""
    return " or ".join(words(part) for part in node.types if not isinstance(part, inspect.NoneType))


_PHRASES: dict[type[inspect.Type], Callable[[Any], str]] = {
    inspect.UnionType: _either,
    inspect.BoolType: lambda _: "true or false",
    inspect.IntType: lambda node: "a whole number" + _bounds(node),
    inspect.FloatType: lambda node: "a number" + _bounds(node),
    inspect.LiteralType: lambda node: " or ".join(json.dumps(value) for value in node.values),
    inspect.StrType: _text,
    inspect.VarTupleType: lambda node: f"a list{_length(node)}, each {words(node.item_type)}",
    inspect.TupleType: lambda node: f"a list of {len(node.item_types)}, each {words(node.item_types[0])}",
}
