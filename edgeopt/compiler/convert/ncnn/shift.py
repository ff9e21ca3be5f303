"""The zero points that ncnn's integers do not have, moved into weights and biases. Pure.

ncnn's codes are symmetric, so what is never negative would use half of them. A product that reads x as `middle - x` uses all: its weights change their signs, and `middle` times their sum goes to its bias. Zero,
with which borders are padded, is the code `middle * scale` then, a whole number. (It is `middle - x` and not `x - middle` because ncnn's padding of bytes on x86 spoils negative values: src/layer/x86/padding_x86.cpp,
`forward_int8`; where no border is padded and a maximum stands between, it is the other way round.) Whoever makes x makes `middle - x` instead, where it is a product with Relu, or else one more layer subtracts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeopt.compiler.convert.ncnn.files import Array, Layer

LEVELS = 127
WORTH = 1.5
"""Codes that many times as fine are worth a shift."""

RELU, CLIP = 1, 3
_ACTIVATION, _ACTIVATION_PARAMETERS = "9", "-23310"
_PADDING = (4, 14, 15, 16)
_SUBTRACT, _SUBTRACT_FROM = 1, 7
"""Kinds of BinaryOp (src/layer/binaryop.h)."""

_UNBOUNDED = 1e30
_CARRIES = frozenset({"Concat", "Dropout", "ExpandDims", "Flatten", "Noop", "Permute", "Reshape", "Split", "Squeeze"})
"""They move values and make none."""


@dataclass(frozen=True, kw_only=True)
class Codes:
    """How a layer's input is coded: code = round(scale * x), or round(scale * (middle - x)) where `middle` is not 0."""

    scale: float
    middle: float = 0.0


def codes_for(low: float, high: float) -> Codes:
    """The codes of a range that contains 0."""
    largest = max(-low, high)
    if 2 * largest < WORTH * (high - low) or high <= -low:
        return Codes(scale=LEVELS / largest)
    scale = 2 * LEVELS / (high - low)
    return Codes(scale=scale, middle=round((high + low) / 2 * scale) / scale)


@dataclass(kw_only=True)
class Weighted:
    """A product: its int8 or float weights as rows of output channels, what one step of each row is worth (1 for floats), and its bias."""

    rows: Array
    steps: Array
    bias: Array


@dataclass
class _Group:
    """Blobs that hold the same values, with who makes and who reads them."""

    makers: list[Layer] = field(default_factory=list)
    readers: list[Layer] = field(default_factory=list)
    is_output: bool = False
    has_maximum: bool = False


def shift(layers: list[Layer], products: Mapping[str, Weighted], codes: Mapping[str, Codes]) -> None:
    """Change layers, weights and biases in place so that int8 layers read what their codes want; may add layers.

    Args:
        layers: of the network, in order.
        products: those whose weights are known, by the name of the layer.
        codes: those that are int8.
    """
    wanted = {name: each for name, each in codes.items() if each.middle}
    signs: dict[str, int] = {}
    made: dict[str, tuple[int, float]] = {}
    for group in _groups(layers):
        readers = [layer for layer in group.readers if layer.name in wanted]
        sign = 1 if group.has_maximum else -1
        if readers and _folds(group, readers, products, wanted, sign):
            middle = wanted[readers[0].name].middle
            signs |= dict.fromkeys((layer.name for layer in readers), sign)
            made |= dict.fromkeys((layer.name for layer in group.makers), (sign, middle))
    for layer in [layer for layer in layers if layer.name in wanted]:
        if layer.name not in signs:
            layers.insert(layers.index(layer), _subtraction(layer, wanted[layer.name].middle))
        _read(layer, products[layer.name], signs.get(layer.name, -1), wanted[layer.name])
    for layer in layers:
        if layer.name in made:
            _make(layer, products[layer.name], *made[layer.name])


def _groups(layers: Sequence[Layer]) -> list[_Group]:
    leader = _leaders(layers)
    groups: dict[str, _Group] = {}
    read = {name for layer in layers for name in layer.bottoms}
    for layer in layers:
        carries = _carries(layer)
        for name in layer.tops:
            group = groups.setdefault(leader[name], _Group())
            group.is_output |= name not in read
            group.has_maximum |= carries and layer.kind == "Pooling" and layer.number(0) == 0
            group.makers += [] if carries else [layer]
        for name in [] if carries else layer.bottoms:
            groups.setdefault(leader[name], _Group()).readers.append(layer)
    return list(groups.values())


def _leaders(layers: Sequence[Layer]) -> dict[str, str]:
    """Each blob with the one that stands for all that hold the same values."""
    leader = {name: name for layer in layers for name in (*layer.bottoms, *layer.tops)}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for layer in filter(_carries, layers):
        first, *others = [*layer.bottoms, *layer.tops]
        for other in others:
            leader[find(other)] = find(first)
    return {name: find(name) for name in leader}


def _carries(layer: Layer) -> bool:
    """Whether it gives on what it reads, shifted where that is shifted. An average may count a padded border in (0 there, not the middle)."""
    if layer.kind == "Pooling":
        return layer.number(0) == 0 or bool(layer.number(4)) or not _pads(layer, (3, 13, 14, 15))
    return layer.kind in _CARRIES


def _pads(layer: Layer, keys: Iterable[int] = _PADDING) -> bool:
    return any(layer.number(key) for key in keys)


def _folds(
    group: _Group,
    readers: Sequence[Layer],
    products: Mapping[str, Weighted],
    wanted: Mapping[str, Codes],
    sign: int,
) -> bool:
    """Whether makers can give what all readers want."""
    return (
        not group.is_output
        and len(readers) == len(group.readers)
        and len({wanted[layer.name].middle for layer in readers}) == 1
        and (sign < 0 or not any(_pads(layer) for layer in readers))
        and all(layer.name in products and layer.number(9) in (0, RELU, CLIP) for layer in group.makers)
    )


def _subtraction(reader: Layer, middle: float) -> Layer:
    """A layer before a reader: middle minus what it reads."""
    blob = f"{reader.bottoms[0]}_{reader.name}"
    parameters = {"0": str(_SUBTRACT_FROM), "1": "1", "2": _text(middle)}
    made = Layer(
        kind="BinaryOp", name=f"{reader.name}_shift", bottoms=[reader.bottoms[0]], tops=[blob], parameters=parameters
    )
    reader.bottoms = [blob]
    return made


def _read(layer: Layer, product: Weighted, sign: int, codes: Codes) -> None:
    """From x = middle + sign * x' follows y = (sign * W) x' + (b + middle * sum of W)."""
    sums = product.rows.reshape(len(product.steps), -1).astype(np.float64).sum(axis=1) * product.steps
    product.bias += (codes.middle * sums).astype(np.float32)
    product.rows *= np.asarray(sign, product.rows.dtype)
    if sign < 0 and _pads(layer):
        layer.parameters["18"] = f"{codes.middle * codes.scale:.1f}"


def _make(layer: Layer, product: Weighted, sign: int, middle: float) -> None:
    """Let it answer sign * (y - middle), and so for the bounds of the activation."""
    product.rows *= np.asarray(sign, product.rows.dtype)
    product.bias -= np.float32(middle)
    product.bias *= np.float32(sign)
    low, high = _bounds(layer)
    if (low, high) != (-_UNBOUNDED, _UNBOUNDED):
        ends = sorted(sign * (end - middle) if abs(end) < _UNBOUNDED else sign * end for end in (low, high))
        layer.parameters[_ACTIVATION] = str(CLIP)
        layer.parameters[_ACTIVATION_PARAMETERS] = "2," + ",".join(map(_text, ends))


def _bounds(layer: Layer) -> tuple[float, float]:
    kind = layer.number(9)
    if kind == RELU:
        return 0.0, _UNBOUNDED
    if kind == CLIP:
        low, high = layer.parameters[_ACTIVATION_PARAMETERS].split(",")[1:3]
        return float(low), float(high)
    return -_UNBOUNDED, _UNBOUNDED


def _text(value: float) -> str:
    """All that a float32 has, in the 15 characters that older versions read (src/paramdict.cpp before 2026)."""
    return f"{np.float32(value):.9g}"
