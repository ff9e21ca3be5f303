"""Random inputs of the right form: for timing only. What a network answers to noise says nothing about how faithful a variant is."""

from __future__ import annotations

import numpy as np

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.errors import SamplesError
from edgeopt.samples.record import Array, Samples, make_samples
from edgeopt.samples.shapes import Shapes, check_shapes, expected_shape

SPATIAL = 64
OTHER = 16
MAX_BYTES = 1 << 30


def synthetic_samples(model: ModelInfo, count: int, seed: int, shapes: Shapes | None = None) -> Samples:
    """Make `count` random samples of the model's signature.

    Floats are uniform in [0, 1), whole numbers 0 or 1 (valid as an index and as a mask), text is "a". A dynamic axis is as `shapes` says, else 1 for a
    batch, 64 for the last two of four axes, 16 for others; axes of one name get one size.

    Raises:
        SamplesError: samples-mismatch: an input is not a tensor of numbers or text, has no known rank, or would be too large.
        ConfigError: `shapes` does not fit the model.
    """
    shapes = shapes or {}
    concrete = concrete_shapes(model, shapes)
    total = count * sum(int(np.prod(shape, dtype=np.float64)) * 8 for shape in concrete)
    if total > MAX_BYTES:
        message = f"random samples would take {total:,} bytes"
        raise SamplesError(
            message, hint="Give smaller shapes under [shapes], or samples of your own.", code="samples-mismatch"
        )
    generator = np.random.default_rng(seed)
    rows = [
        [random_array(generator, spec, shape) for spec, shape in zip(model.inputs, concrete, strict=True)]
        for _ in range(count)
    ]
    notes = [
        f"input '{spec.name}': shape {shape} was chosen for timing, the model leaves it open; set [shapes] to choose another"
        for spec, shape in zip(model.inputs, concrete, strict=True)
        if spec.name not in shapes
        and any(size not in (1, axis) for axis, size in zip(spec.shape or (), shape, strict=True))
    ]
    return make_samples([spec.name for spec in model.inputs], rows, source="random", synthetic=True, notes=notes)


def concrete_shapes(model: ModelInfo, shapes: Shapes) -> list[tuple[int, ...]]:
    """Every input's shape without open axes, chosen as `synthetic_samples` says.

    Raises:
        SamplesError: samples-mismatch: a rank is unknown.
        ConfigError: `shapes` does not fit the model.
    """
    check_shapes(model.inputs, shapes)
    sizes = _named_sizes(model, shapes)
    return [_concrete(spec, shapes, sizes) for spec in model.inputs]


def _named_sizes(model: ModelInfo, shapes: Shapes) -> dict[str, int]:
    """Sizes of named axes that are given for one input and meant for all."""
    return {
        axis: size
        for spec in model.inputs
        if spec.name in shapes
        for axis, size in zip(spec.shape or (), shapes[spec.name], strict=False)
        if isinstance(axis, str)
    }


def _concrete(spec: TensorSpec, shapes: Shapes, sizes: dict[str, int]) -> tuple[int, ...]:
    """A shape without open axes; what is chosen for a name is remembered in `sizes`."""
    declared = expected_shape(spec, shapes)
    if declared is None:
        message = f"input '{spec.name}' has no known rank, so random samples cannot be made"
        raise SamplesError(
            message, hint=f'Give its shape in edgeopt.toml: [shapes] "{spec.name}" = [1, ...]', code="samples-mismatch"
        )
    shape: list[int] = []
    for position, axis in enumerate(declared):
        if isinstance(axis, int):
            shape.append(axis)
        elif axis is None:
            shape.append(_guess(position, len(declared)))
        else:
            shape.append(sizes.setdefault(axis, 1 if "batch" in axis.lower() else _guess(position, len(declared))))
    return tuple(shape)


def _guess(position: int, rank: int) -> int:
    """A small size for an open axis."""
    if position == 0:
        return 1
    return SPATIAL if rank == 4 and position >= 2 else OTHER


def random_array(generator: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """One input of the right type: uniform floats, whole numbers 0 or 1, text "a".

    Raises:
        SamplesError: samples-mismatch: another type.
    """
    if spec.dtype == "str":
        return np.full(shape, "a")
    if spec.dtype in ("float16", "float32", "float64"):
        return generator.random(shape).astype(spec.dtype)
    if spec.scale is not None:
        limits = np.iinfo(spec.dtype)
        return generator.integers(limits.min, limits.max, shape, dtype=np.dtype(spec.dtype), endpoint=True)
    if spec.dtype == "bool" or spec.dtype.lstrip("u") in ("int8", "int16", "int32", "int64"):
        return generator.integers(0, 2, shape).astype(spec.dtype)
    message = f"input '{spec.name}' is of type {spec.dtype}, of which random samples cannot be made"
    raise SamplesError(
        message, hint="Export the model with inputs that are tensors of plain numbers.", code="samples-mismatch"
    )
