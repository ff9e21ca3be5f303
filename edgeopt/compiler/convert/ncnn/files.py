"""ncnn's two files: the layers as text (`.param`) and their weights, one after the other, in `.bin`. Pure.

The forms are those of ncnn's readers (src/net.cpp, src/modelbin.cpp and each layer's `load_model`; docs/developer-guide/param-and-model-file-structure.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

MAGIC = "7767517"
PLAIN_TAG, INT8_TAG = b"\0\0\0\0", (0x000D4B38).to_bytes(4, "little")
"""What stands before weights of a product: float32 follow, or int8 padded to a multiple of 4 bytes."""

_PARAMETER = re.compile(r'(-?\d+)=("[^"]*"|\S+)')


class FormatError(ValueError):
    """The files are not as this module knows them."""


@dataclass(kw_only=True)
class Layer:
    """One line of a .param file. `parameters` keep their order and their text."""

    kind: str
    name: str
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)

    def number(self, key: int, default: int = 0) -> int:
        """The value of a whole-numbered parameter."""
        return int(self.parameters.get(str(key), default))


@dataclass(kw_only=True)
class Weights:
    """What a layer loads: the weights of a product (float32, flat; None for other layers), and the bytes after them as they are."""

    values: Array | None
    rest: bytes


def parse_param(text: str) -> list[Layer]:
    """The layers, in the order in which they are computed.

    Raises:
        FormatError: it is not a .param file.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or lines[0].strip() != MAGIC:
        raise FormatError("it does not begin like a .param file")
    return [_layer(line) for line in lines[2:]]


def _layer(line: str) -> Layer:
    words = line.split(maxsplit=4)
    try:
        kind, name, bottoms, tops = words[0], words[1], int(words[2]), int(words[3])
    except (IndexError, ValueError) as error:
        raise FormatError(f"a layer is not described as ncnn does: {line[:80]!r}") from error
    rest = words[4].split(maxsplit=bottoms + tops) if len(words) > 4 else []
    if not 0 <= bottoms <= len(rest) or not 0 <= tops <= len(rest) - bottoms:
        raise FormatError(f"a layer lacks blobs: {line[:80]!r}")
    tail = rest[bottoms + tops] if len(rest) > bottoms + tops else ""
    return Layer(
        kind=kind,
        name=name,
        bottoms=rest[:bottoms],
        tops=rest[bottoms : bottoms + tops],
        parameters=dict(_PARAMETER.findall(tail)),
    )


def format_param(layers: list[Layer]) -> str:
    """The text of a .param file."""
    blobs = len({name for layer in layers for name in layer.tops})
    lines = [MAGIC, f"{len(layers)} {blobs}"]
    for layer in layers:
        counts = f"{len(layer.bottoms)} {len(layer.tops)}"
        options = [f"{key}={value}" for key, value in layer.parameters.items()]
        lines.append(" ".join([f"{layer.kind:<24} {layer.name:<24}", counts, *layer.bottoms, *layer.tops, *options]))
    return "\n".join([*lines, ""])


def split_weights(layers: list[Layer], data: bytes) -> list[Weights]:
    """What of a .bin file belongs to which layer.

    Raises:
        FormatError: it does not come out even: a layer keeps its weights in a way that is not known here, or they are not float32.
    """
    found, place = [], 0
    for layer in layers:
        tagged, others = _sizes(layer)
        values = None
        if tagged:
            if data[place : place + 4] != PLAIN_TAG:
                raise FormatError(f"the weights of the layer {layer.name} ({layer.kind}) are not where they should be")
            values = np.frombuffer(data[place + 4 : place + 4 + 4 * tagged], "<f4")
            place += 4 + 4 * tagged
        found.append(Weights(values=values, rest=data[place : place + 4 * others]))
        place += 4 * others
    if place != len(data):
        raise FormatError("a layer keeps its weights in a way that is not known here")
    return found


def join_weights(weights: list[Weights]) -> bytes:
    """The .bin file. Weights are float32, or int8 where their array is."""
    parts = []
    for each in weights:
        if each.values is not None:
            parts += [_tagged(each.values)]
        parts.append(each.rest)
    return b"".join(parts)


def _tagged(values: Array) -> bytes:
    if values.dtype == np.int8:
        return INT8_TAG + values.tobytes() + b"\0" * (-values.size % 4)
    return PLAIN_TAG + values.astype("<f4").tobytes()


_CONVOLUTIONS = re.compile(r"(De)?[Cc]onvolution(DepthWise)?(1D|3D)?", re.ASCII)
_DYNAMIC = {"Convolution": 19, "Deconvolution": 28}
"""The parameter that says that a product's weights are an input."""


def _sizes(layer: Layer) -> tuple[int, int]:
    """(weights of a product, words of 4 bytes after them) of a layer. A tag counts as a word, but for the one before a product's weights."""
    number = layer.number
    kind = _CONVOLUTIONS.fullmatch(layer.kind)
    if kind is not None:
        if number(_DYNAMIC["Deconvolution" if kind[1] else "Convolution"]):
            return 0, 0
        return number(6), number(0) if number(5) else 0
    sizes = _OTHERS.get(layer.kind)
    return (0, 0) if sizes is None else sizes(layer)


def _memory(layer: Layer) -> tuple[int, int]:
    sizes = [layer.number(key) for key in (0, 1, 11, 2)]
    count = int(np.prod([size for size in sizes if size], dtype=np.int64)) if any(sizes) else 0
    return (0, count) if layer.number(21, 1) else (0, count + 1)


def _gemm(layer: Layer) -> tuple[int, int]:
    """Any of its three matrices may be constant, each behind a tag."""
    rows, columns, inner = (layer.number(key) for key in (7, 8, 9))
    summand = {0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}.get(layer.number(10))
    sizes = [
        rows * inner if layer.number(4) else None,
        columns * inner if layer.number(5) else None,
        summand if layer.number(6) else None,
    ]
    return 0, sum(size + 1 for size in sizes if size is not None)


def _affine(size: int, switch: int, arrays: int = 2) -> Any:
    """A normalisation: `arrays` of as many values as the parameter `size` says, unless `switch` turns them off."""
    return lambda layer: (0, arrays * layer.number(size) if layer.number(switch, 1) else 0)


_OTHERS: dict[str, Any] = {
    "InnerProduct": lambda layer: (layer.number(2), layer.number(0) if layer.number(1) else 0),
    "Embed": lambda layer: (layer.number(3), layer.number(0) if layer.number(2) else 0),
    "Gemm": _gemm,
    "MemoryData": _memory,
    "BatchNorm": lambda layer: (0, 4 * layer.number(0)),
    "PReLU": lambda layer: (0, layer.number(0)),
    "Bias": lambda layer: (0, layer.number(0)),
    "Scale": lambda layer: (0, (2 if layer.number(1) else 1) * max(layer.number(0), 0)),
    "Normalize": lambda layer: (0, layer.number(3)),
    "LayerNorm": _affine(0, 2),
    "GroupNorm": _affine(1, 3),
    "InstanceNorm": _affine(0, 2),
    "RMSNorm": _affine(0, 2, arrays=1),
}
