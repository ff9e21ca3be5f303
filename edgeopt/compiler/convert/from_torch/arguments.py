"""Arguments of a node in the JSON of a `torch.export` archive (schema of torch/_export/serde/schema.py). Child side."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgeopt.compiler.refuse import Refused

DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
"""The schema's numbers of types that are read."""

LAYOUTS = {7: "strided"}
MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}

Values = dict[str, Any]
Argument = Callable[[Values], Any]
"""From what was computed so far, by name, to the value."""

SYMBOL = re.compile(r"(?P<plain>[A-Za-z]\w*)|Symbol\('(?P<named>\w+)'(, \w+=\w+)*\)")
"""An open size: sympy writes the second form."""

ONE = ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool")
SEVERAL = ("as_tensors", "as_sym_ints", "as_sym_floats", "as_optional_tensors")
PLAIN = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_strings")


def read_size(told: dict[str, Any]) -> tuple[int, str | None]:
    """A size and, where it is open, its symbol; the size is then that of the exported example."""
    if "as_int" in told:
        return int(told["as_int"]), None
    expression = told["as_expr"]
    symbol, hint = SYMBOL.fullmatch(str(expression["expr_str"])), expression.get("hint") or {}
    if symbol is None or "as_int" not in hint:
        words = f"an axis of it has the size {str(expression['expr_str'])[:40]}; numbers and plain symbols are read"
        raise Refused("model-unsupported", words)
    return int(hint["as_int"]), symbol["plain"] or symbol["named"]


def read_argument(told: dict[str, Any], target: str) -> Argument:
    """What gives an argument's value.

    Raises:
        Refused: model-unsupported: a kind that is not read.
    """
    ((kind, value),) = told.items()
    if kind in PLAIN or kind == "as_none":
        return _constant(value if kind in PLAIN else None)
    if kind in ONE:
        return _one(value)
    if kind in SEVERAL:
        parts = [_one(each) for each in value]
        return lambda values: [part(values) for part in parts]
    return _constant(_of_torch(kind, value, target))


def _of_torch(kind: str, value: Any, target: str) -> Any:
    """A type, a layout, a memory format; whatever device it was, here it is the CPU."""
    import torch

    if kind == "as_device":
        return torch.device("cpu")
    names = {"as_scalar_type": DTYPES, "as_memory_format": MEMORY_FORMATS, "as_layout": LAYOUTS}.get(kind, {})
    if value not in names:
        words = f"an argument of {target[:80]} is of the kind {kind.removeprefix('as_')}, which is not read"
        raise Refused("model-unsupported", words)
    return getattr(torch, names[value])


def _constant(value: Any) -> Argument:
    return lambda _values: value


def _one(told: dict[str, Any]) -> Argument:
    """A tensor or size by name, a number, or none."""
    if "as_tensor" in told:
        told = told["as_tensor"]
    if "as_none" in told:
        return lambda _values: None
    for key in ("as_int", "as_float", "as_bool"):
        if key in told:
            return _constant(told[key])
    name = str(told.get("name") or told["as_name"])
    return lambda values: values[name]
