"""Resize: the runtime's two operators where they take the same places as ONNX does, else a look-up or a product for each axis.

Which place of the picture an answer comes from is computed for each way of counting and compared, so that no table of modes has to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Array, Node
from edgeopt.compiler.convert.tflite.orders import NHWC

WAYS: tuple[Mapping[str, bool], ...] = ({}, {"halfPixelCenters": True}, {"alignCorners": True})
"""How the runtime's operators count."""

NEAR = 1e-4
"""Of a pixel: the runtime computes places in float32."""


def resize(lowering: Lowering, node: Node) -> None:
    """Height and width; other axes must stay."""
    source, target = node.inputs[0], node.outputs[0]
    shape, wanted = lowering.shape(source), lowering.shape(target)
    if len(shape) != 4 or shape[:2] != wanted[:2]:
        raise node.refuse("it resizes height and width of [N, C, H, W] only")
    mode = bytes(node.attributes.get("mode", b"nearest"))
    if mode not in (b"nearest", b"linear") or node.attributes.get("antialias"):
        raise node.refuse(f"it does not resize by {mode.decode(errors='replace')}")
    places = [_places(lowering, node, axis) for axis in (2, 3)]
    nearest = mode == b"nearest"
    if nearest:
        places = [_rounded(node, each, size) for each, size in zip(places, shape[2:], strict=True)]
    data = lowering.read(source, NHWC)
    sizes = lowering.ints(wanted[2:])
    for way in WAYS:
        if all(_alike(way, nearest=nearest, size=shape[2 + i], answer=wanted[2 + i], wanted=places[i]) for i in (0, 1)):
            kind = "RESIZE_NEAREST_NEIGHBOR" if nearest else "RESIZE_BILINEAR"
            lowering.write(target, NHWC, kind, [data, sizes], **way)
            return
    if not nearest:
        raise node.refuse("its way of counting pixels is not among the runtime's")
    _looked_up(lowering, target, data, places)


def _looked_up(lowering: Lowering, target: str, data: int, places: list[Array]) -> None:
    """Nearest by one GATHER for each axis."""
    for axis, numbers in enumerate(places, 1):
        shape = list(lowering.file.shape(data))
        shape[axis] = len(numbers)
        data = lowering.make(
            "GATHER", [data, lowering.ints([int(n) for n in numbers])], target, tuple(shape), axis=axis
        )
    lowering.put(target, NHWC, data)


def _alike(way: Mapping[str, bool], *, nearest: bool, size: int, answer: int, wanted: Array) -> bool:
    """Whether the runtime takes the same places (tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h, resize_bilinear.h)."""
    if size == answer and not way:
        return bool(np.allclose(wanted, np.arange(answer), atol=NEAR))
    step = np.float32((size - 1) / (answer - 1) if way.get("alignCorners") and answer > 1 else size / answer)
    index = np.arange(answer, dtype=np.float32)
    half = np.float32(0.5 if way.get("halfPixelCenters") else 0.0)
    if nearest:
        at = (index + half) * step
        made = np.floor(at + np.float32(0.5)) if way.get("alignCorners") else np.floor(at)
        return bool(np.array_equal(np.minimum(made, size - 1), wanted))
    made = (index + half) * step - half
    return bool(np.allclose(np.clip(made, 0, size - 1), np.clip(wanted, 0, size - 1), atol=NEAR))


def _places(lowering: Lowering, node: Node, axis: int) -> Array:
    """Where in the picture each answer lies (ONNX, Resize, `coordinate_transformation_mode`), float64."""
    size, answer = lowering.shape(node.inputs[0])[axis], lowering.shape(node.outputs[0])[axis]
    scale = _scale(lowering, node, axis, size, answer)
    index = np.arange(answer, dtype=np.float64)
    match bytes(node.attributes.get("coordinate_transformation_mode", _usual_mode(lowering, node))):
        case b"half_pixel":
            return np.asarray((index + 0.5) / scale - 0.5)
        case b"pytorch_half_pixel":
            return np.asarray((index + 0.5) / scale - 0.5 if answer > 1 else index * 0)
        case b"align_corners":
            return np.asarray(index * (size - 1) / (answer - 1) if answer > 1 else index * 0)
        case b"asymmetric":
            return np.asarray(index / scale)
        case b"half_pixel_symmetric":
            adjusted = answer / (size * scale)
            return np.asarray(size / 2 * (1 - adjusted) + (index + 0.5) / scale - 0.5)
        case mode:
            raise node.refuse(f"it does not count pixels by {mode.decode(errors='replace')}")


def _usual_mode(lowering: Lowering, node: Node) -> bytes:
    """Before opset 11 there was one way of counting."""
    return b"asymmetric" if node.kind == "Upsample" or lowering.network.opset < 11 else b"half_pixel"


def _scale(lowering: Lowering, node: Node, axis: int, size: int, answer: int) -> float:
    """As given; from the sizes where those are."""
    if "scales" in node.attributes:
        return float(node.attributes["scales"][axis])
    place = 1 if node.kind == "Upsample" or lowering.network.opset < 11 else 2
    given = lowering.value(node.inputs[place]) if len(node.inputs) > place else None
    if given is None or not given.size:
        return answer / size
    axes = [each % 4 for each in node.attributes.get("axes", range(4))]
    return float(given[axes.index(axis)]) if axis in axes else 1.0


def _rounded(node: Node, places: Array, size: int) -> Array:
    """The nearest pixel by ONNX's `nearest_mode`; the first and the last hold what lies beyond."""
    usual = (
        b"floor"
        if "coordinate_transformation_mode" not in node.attributes and node.kind == "Upsample"
        else b"round_prefer_floor"
    )
    ways: dict[bytes, Callable[[Array], Array]] = {
        b"floor": np.floor,
        b"ceil": np.ceil,
        b"round_prefer_floor": lambda at: np.ceil(at - 0.5),
        b"round_prefer_ceil": lambda at: np.floor(at + 0.5),
    }
    # What a division leaves behind the last digit decides nothing.
    nearest = ways[bytes(node.attributes.get("nearest_mode", usual))](np.round(places, 9))
    return np.asarray(np.clip(nearest, 0, size - 1))


TABLE: Mapping[str, Lower] = MappingProxyType({"Resize": resize, "Upsample": resize})
