"""Arrays against a model's signature: what is safe is converted, anything else is a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeopt.domain.model import TensorSpec
from edgeopt.errors import SamplesError
from edgeopt.samples.record import Array
from edgeopt.samples.shapes import Axis, agrees, words

_NUMBERS = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)


def fit(array: Array, spec: TensorSpec, shape: Sequence[Axis] | None, label: str) -> Array:
    """The array as the input takes it: with its batch axis and dtype.

    Args:
        array: what was read.
        spec: the input.
        shape: what the input takes (`shapes.expected_shape`).
        label: what messages call the array: its file.

    Raises:
        SamplesError: samples-mismatch, with what was found and what the input takes.
    """
    return fit_shape(fit_dtype(array, spec, label), spec, shape, label)


def fit_shape(array: Array, spec: TensorSpec, shape: Sequence[Axis] | None, label: str) -> Array:
    """Add the batch axis when just that is missing, and check every fixed axis.

    Raises:
        SamplesError: samples-mismatch.
    """
    if shape is None:
        return array
    open_batch = bool(shape) and (shape[0] == 1 or not isinstance(shape[0], int))
    batched = array[None] if array.ndim == len(shape) - 1 and open_batch else array
    if not agrees(batched.shape, shape):
        message = f"{label} has shape {array.shape}, input '{spec.name}' takes {words(shape)}"
        raise SamplesError(message, hint=_shape_hint(array, shape), code="samples-mismatch")
    return batched


def fit_dtype(array: Array, spec: TensorSpec, label: str) -> Array:
    """Convert where no value changes its meaning: within floats, from whole numbers that the target holds exactly, from real numbers to codes with a scale.

    Raises:
        SamplesError: samples-mismatch.
    """
    if spec.dtype == "str":
        if array.dtype.kind == "U":
            return array
        raise _dtype_mismatch(array, spec, label, "")
    if spec.dtype not in _NUMBERS:
        message = f"input '{spec.name}' is of type {spec.dtype}, which a file of samples cannot hold"
        raise SamplesError(
            message,
            hint="Feed the model tensors of plain numbers: export it with such inputs.",
            code="samples-mismatch",
        )
    target = np.dtype(spec.dtype)
    if array.dtype == target:
        return array
    if array.dtype.kind == "f" and spec.scale is not None:
        return _codes(array, target, spec)
    pair = array.dtype.kind + target.kind
    if pair not in {"ff", "uf", "if", "uu", "ui", "iu", "ii", "bf", "bu", "bi"}:
        raise _dtype_mismatch(array, spec, label, "")
    return _converted(array, target, spec, label)


def _codes(array: Array, target: np.dtype[Any], spec: TensorSpec) -> Array:
    """Real numbers as the codes that the input takes: to the nearest, at the ends of the range the last."""
    limits = np.iinfo(target.name)
    codes = np.rint(np.nan_to_num(array).astype(np.float64) / float(spec.scale or 1)) + (spec.zero_point or 0)
    return np.asarray(np.clip(codes, limits.min, limits.max), target)


def _converted(array: Array, target: np.dtype[np.generic], spec: TensorSpec, label: str) -> Array:
    """Floats may be rounded but not overflow; whole numbers stay what they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(target)
        if array.dtype.kind == "f":
            same = np.isfinite(converted) | ~np.isfinite(array)
        else:
            # Compared in both types: 2**64-1 rounds to a float that rounds back to something else.
            same = (converted.astype(array.dtype) == array) & ((converted >= 0) == (array >= 0))
            # An infinity turns back into the smallest number there is, which it then seems to be.
            same &= np.isfinite(converted)
    if not bool(np.all(same)):
        raise _dtype_mismatch(array, spec, label, " and holds values that this cannot hold")
    return converted


def _dtype_mismatch(array: Array, spec: TensorSpec, label: str, more: str) -> SamplesError:
    message = f"{label} is of type {array.dtype}, input '{spec.name}' takes {spec.dtype}{more}"
    return SamplesError(message, hint=f"Save the samples as {spec.dtype}.", code="samples-mismatch")


def _shape_hint(array: Array, shape: Sequence[Axis]) -> str:
    """The likeliest reason."""
    found, wanted = array.shape[-3:], shape[-3:]
    fixed = [axis for axis in wanted if isinstance(axis, int)]
    if len(fixed) == 3 and found != tuple(wanted) and sorted(found) == sorted(fixed):
        return "The channels are on another axis: transpose the samples."
    if (
        array.ndim == len(shape)
        and isinstance(shape[0], int)
        and array.shape[0] != shape[0]
        and agrees(array.shape[1:], shape[1:])
    ):
        return f"Every file is one sample with a batch axis of {shape[0]}."
    return "Save each sample exactly as the model is fed; `edgeopt inspect` shows what it takes."
