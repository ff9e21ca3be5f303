"""Tensors between the wire's `.npz`, the raw bytes that a native program reads and writes, and numpy. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.errors import LinkError

Row = tuple[Any, ...]
"""Arrays of one sample, in the order of the signature."""

_KEY = re.compile(r"s(\d{1,7})\.(\d{1,4})")
MOST_BYTES = 64 << 20
"""The most that is taken from a phone as one sample's answers."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Name, dtype and shape of a tensor; a dimension that is open is None or its name."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A network's inputs and outputs, in its order."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]


def signature_of(inputs: Sequence[Any], outputs: Sequence[Any]) -> Signature:
    """Read tensors' names, dtypes and shapes, of records or of a manifest.

    Raises:
        ValueError: they are none.
    """
    try:
        return msgspec.convert(
            {"inputs": msgspec.to_builtins(inputs), "outputs": msgspec.to_builtins(outputs)}, Signature
        )
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def read_rows(path: Path) -> list[Row]:
    """Read arrays `s<i>.<j>` as samples.

    Raises:
        LinkError: the file is damaged.
    """
    import numpy as np

    rows: dict[int, dict[int, Any]] = {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for key in archive.files:
                found = _KEY.fullmatch(key)
                if found is not None:
                    rows.setdefault(int(found[1]), {})[int(found[2])] = np.ascontiguousarray(archive[key])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LinkError(
            f"samples that came back from the phone are damaged: {error}", code="damaged-in-transit"
        ) from error
    return [tuple(rows[number][position] for position in sorted(rows[number])) for number in sorted(rows)]


def write_rows(rows: Sequence[Row], path: Path) -> tuple[str, int]:
    """Write samples as arrays `s<i>.<j>`; returns the file's sha256 and size."""
    import numpy as np

    named = {f"s{i}.{j}": array for i, row in enumerate(rows) for j, array in enumerate(row)}
    with path.open("wb") as stream:
        np.savez(stream, **named)
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def split_answers(data: bytes, network: Signature, inputs: Row) -> tuple[Row | None, str | None]:
    """Cut the bytes of all outputs, one after the other, into arrays; (None, why not) when they cannot be told apart.

    Open dimensions are those of inputs of the same name; one that is left is what the size says.
    """
    import numpy as np

    specs, known = network.outputs, _dimensions(inputs, network.inputs)
    shapes = [_filled(spec, known) for spec in specs]
    sizes = [np.dtype(spec.dtype).itemsize for spec in specs]
    if sum(shape is None or None in shape for shape in shapes) > 1 or None in shapes:
        return None, "the program writes plain bytes, and the shapes of several outputs are open"
    fixed = sum(size * _entries(shape) for size, shape in zip(sizes, shapes, strict=True))
    arrays, at = [], 0
    for spec, size, shape in zip(specs, sizes, shapes, strict=True):
        filled = _solved(shape or (), size, len(data) - fixed)
        count = size * math.prod(filled)
        if at + count > len(data):
            break
        arrays.append(np.frombuffer(data[at : at + count], spec.dtype).reshape(filled))
        at += count
    if at != len(data) or len(arrays) != len(specs):
        return None, f"the program wrote {len(data)} bytes of answers, {at} fit the network's outputs"
    return tuple(arrays), None


def _dimensions(inputs: Row, specs: Sequence[Spec]) -> dict[str, int]:
    return {
        dimension: array.shape[axis]
        for spec, array in zip(specs, inputs, strict=False)
        for axis, dimension in enumerate(spec.shape or ())
        if isinstance(dimension, str) and axis < array.ndim
    }


def _filled(spec: Spec, known: Mapping[str, int]) -> list[int | None] | None:
    if spec.shape is None:
        return None
    return [dimension if isinstance(dimension, int) else known.get(dimension or "") for dimension in spec.shape]


def _entries(shape: Sequence[int | None] | None) -> int:
    """How many entries a shape has; 0 while something in it is open."""
    known = [dimension for dimension in shape or () if dimension is not None]
    return math.prod(known) if shape is not None and len(known) == len(shape) else 0


def _solved(shape: Sequence[int | None], size: int, left: int) -> list[int]:
    """The shape with what is open in it solved from the bytes that are left for it."""
    rest = size * math.prod(dimension for dimension in shape if dimension is not None)
    return [max(left, 0) // rest if dimension is None and rest else dimension or 0 for dimension in shape]


def compared(got: Row, wanted: Row, *, rtol: float, atol: float) -> tuple[float, str | None]:
    """Return the largest difference, and what is wrong with it: `|got - wanted| <= atol + rtol * |wanted|` for every element."""
    import numpy as np

    worst = 0.0
    for number, (mine, theirs) in enumerate(zip(got, wanted, strict=False)):
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            return worst, f"output {number} has another form"
        difference = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
        worst = max(worst, float(difference.max(initial=0.0)))
        if not bool(np.all(difference <= atol + rtol * np.abs(theirs.astype(np.float64)))):
            return worst, f"output {number} differs by {worst:.3g}"
    return (worst, None) if len(got) == len(wanted) else (worst, "another number of outputs")
