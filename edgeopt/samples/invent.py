"""Inputs to calibrate and compare with where the user has none: drawn pictures for inputs that take pictures, noise for others.

Pictures go through the same preprocessing as the user's own would, so that the ranges of the first layers are right. Noise has the right type and nothing else.
A file that still has its batch norms says what it was trained on: `compiler.fit_pictures` moves drawn pictures there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.domain.preprocess import Preprocess
from edgeopt.errors import SamplesError
from edgeopt.samples.fit import fit
from edgeopt.samples.pictures import draw_picture
from edgeopt.samples.preprocess import apply, complete
from edgeopt.samples.record import Array, Samples, make_samples
from edgeopt.samples.shapes import Axis, Shapes, expected_shape
from edgeopt.samples.synthetic import concrete_shapes, random_array

SYNTHETIC = "synthetic"
"""What `samples` says instead of a folder."""

DRAWN_PICTURES = "drawn pictures"
"""What samples of pictures call themselves."""

OPEN_SIDE = 224
"""Pixels of a picture's side that neither the model nor the settings fix."""

MIN_SIDE, MAX_RATIO = 16, 4
"""Smaller or longer ones are spectrograms and signals: a keyword network takes [1, 49, 10]."""

BUDGET_BYTES = 512 << 20
MAX_DRAWN = 1024
"""Pixels of a side that are drawn where a resize follows."""

_PICTURED = ("float16", "float32", "float64", "uint8", "int8")
_Maker = Callable[[np.random.Generator], Array]


def invent_samples(
    model: ModelInfo,
    count: int,
    seed: int,
    *,
    part: int = 0,
    preprocess: Preprocess | None = None,
    shapes: Shapes | None = None,
) -> Samples:
    """Make at most `count` samples; fewer where they would take more than `BUDGET_BYTES`, at least one.

    Args:
        model: whose inputs are fed.
        count: how many.
        seed: the same seed gives the same samples.
        part: samples of another part share none with this one.
        preprocess: how pictures become tensors; None: as the model's signature says, floats in 0..1.
        shapes: of inputs with open axes, by input name.

    Raises:
        SamplesError: samples-mismatch: the model has an input that nothing can be made for, or its settings contradict it.
        ConfigError: `shapes` does not fit the model.
    """
    given = dict(shapes or {})
    pictured = {spec.name: shape for spec in model.inputs if (shape := picture_shape(spec, preprocess, given))}
    concrete = concrete_shapes(model, given | pictured)
    notes: list[str] = []
    makers = [
        _drawn(spec, shape, preprocess, notes) if spec.name in pictured else _noise(spec, shape, notes)
        for spec, shape in zip(model.inputs, concrete, strict=True)
    ]
    count = min(count, max(1, BUDGET_BYTES // _bytes_each(model.inputs, concrete)))
    generators = (np.random.default_rng([seed, part, number]) for number in range(count))
    rows = [[make(generator) for make in makers] for generator in generators]
    words = (DRAWN_PICTURES,) * bool(pictured) + ("random numbers",) * (len(pictured) < len(makers))
    source = f"{SYNTHETIC}: {' and '.join(words)} of seed {seed}"
    names = [spec.name for spec in model.inputs]
    return make_samples(names, rows, source=source, synthetic=True, notes=notes)


def assumes_range(model: ModelInfo, preprocess: Preprocess | None, shapes: Shapes | None = None) -> bool:
    """Tell whether pictures are fed as floats whose range nobody has said."""
    floats = (spec for spec in model.inputs if spec.dtype.startswith("float"))
    return preprocess is None and any(picture_shape(spec, None, shapes or {}) for spec in floats)


def picture_shape(spec: TensorSpec, preprocess: Preprocess | None, shapes: Shapes) -> tuple[int, ...] | None:
    """Return the shape, without open axes, of an input that takes pictures; None for any other input."""
    declared = expected_shape(spec, shapes)
    if declared is None or len(declared) not in (3, 4) or spec.dtype not in _PICTURED:
        return None
    settings = preprocess or Preprocess()
    last = _channels_last(declared, settings)
    if last is None:
        return None
    width, height = _sides(declared, settings, last=last)
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_RATIO * min(width, height):
        return None
    depth = _known(declared[-1 if last else -3], 1 if settings.channels == "GRAY" else 3)
    picture = (height, width, depth) if last else (depth, height, width)
    return picture if len(declared) == 3 else (_known(declared[0], 1), *picture)


def _channels_last(declared: Sequence[Axis], settings: Preprocess) -> bool | None:
    """Whether the channels are the last axis; None when no axis, or more than one, can be that of channels."""
    if settings.layout is not None:
        return settings.layout == "NHWC"
    first, last = declared[-3] in (1, 3), declared[-1] in (1, 3)
    return last if first != last else None


def _sides(declared: Sequence[Axis], settings: Preprocess, *, last: bool) -> tuple[int, int]:
    """(width, height) in pixels: the model's, else what the settings make of every picture."""
    height, width = declared[-3:-1] if last else declared[-2:]
    made = settings.crop or settings.resize
    sides = made if isinstance(made, tuple) else (OPEN_SIDE, OPEN_SIDE)
    return _known(width, sides[0]), _known(height, sides[1])


def _known(axis: Axis, otherwise: int) -> int:
    return axis if isinstance(axis, int) else otherwise


def _drawn(spec: TensorSpec, shape: tuple[int, ...], preprocess: Preprocess | None, notes: list[str]) -> _Maker:
    """Pictures through the preprocessing that the user's own would take."""
    settings, assumed = complete(preprocess, spec, shape)
    notes += [f"input '{spec.name}': pictures drawn from a seed stand in for samples", *assumed]
    size = _drawn_size(settings, shape)

    def make(generator: np.random.Generator) -> Array:
        count = shape[0] if len(shape) == 4 else 1
        made = [apply(draw_picture(generator, *size), settings) for _ in range(count)]
        return fit(np.stack(made) if len(shape) == 4 else made[0], spec, shape, f"a picture for input '{spec.name}'")

    return make


def _drawn_size(settings: Preprocess, shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) before preprocessing, near what comes out of it; 4 : 3 where the proportions of a photograph show."""
    if settings.resize is None:
        height, width = shape[-2:] if settings.layout == "NCHW" else shape[-3:-1]
        crop = settings.crop or (width, height)
        return crop[0], crop[1]
    if isinstance(settings.resize, int):
        side = min(settings.resize, MAX_DRAWN)
        return side * 4 // 3, side
    width, height = (min(each, MAX_DRAWN) for each in settings.resize)
    return (max(width, height), max(1, max(width, height) * 3 // 4)) if settings.letterbox else (width, height)


def _noise(spec: TensorSpec, shape: tuple[int, ...], notes: list[str]) -> _Maker:
    """Floats of mean 0 and deviation 1; for other types what is valid as an index and as a mask."""
    notes.append(
        f"input '{spec.name}': random numbers of shape {list(shape)} stand in for samples; what a network answers to noise says little of your data, "
        "and int8 calibrated on it may be far off"
    )

    def make(generator: np.random.Generator) -> Array:
        if spec.dtype.startswith("float"):
            return np.asarray(generator.standard_normal(shape), dtype=np.dtype(spec.dtype))
        return random_array(generator, spec, shape)

    return make


def _bytes_each(inputs: Sequence[TensorSpec], shapes: Sequence[tuple[int, ...]]) -> int:
    """Bytes of one sample.

    Raises:
        SamplesError: samples-mismatch: one sample alone is over the budget.
    """
    each = sum(
        _item_bytes(spec) * int(np.prod(shape, dtype=np.float64)) for spec, shape in zip(inputs, shapes, strict=True)
    )
    if each > BUDGET_BYTES:
        message = f"one synthetic sample would take {each:,} bytes"
        raise SamplesError(
            message, hint="Give smaller shapes under [shapes], or samples of your own.", code="samples-mismatch"
        )
    return max(1, each)


def _item_bytes(spec: TensorSpec) -> int:
    kind: np.dtype[Any] = (
        np.dtype(spec.dtype) if spec.dtype in (*_PICTURED, "int64", "int32", "bool") else np.dtype("float64")
    )
    return kind.itemsize


__all__ = ["SYNTHETIC", "assumes_range", "invent_samples", "picture_shape"]
