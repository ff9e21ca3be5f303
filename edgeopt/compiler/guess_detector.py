"""Is it a detector? Boxes and scores are told by names, by as many of the one as of the other, or by maps on grids that halve. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from edgeopt.compiler.signature import axis, said, shape_words, sides
from edgeopt.domain.model import Task, TensorSpec

MANY_BOXES = 400
"""Places of a dense detector, at least; the smallest in use have some hundred more."""
CHOSEN_BOXES = 64
"""Rows of boxes that the graph itself has chosen, at least."""
BOX_WORDS, SCORE_WORDS = ("box", "bbox"), ("score", "prob", "conf", "logit", "label")


def guess_detector(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> tuple[Task, str] | None:
    """Boxes and scores by name; as many boxes as scores by shape; one wide output; or maps on grids that halve."""
    if sides(inputs) is None:
        return None
    boxes = [spec for spec in outputs if axis(spec, -1) == 4 and any(word in spec.name.lower() for word in BOX_WORDS)]
    if boxes and any(any(word in spec.name.lower() for word in SCORE_WORDS) for spec in outputs if spec not in boxes):
        return "detection", f"its output {boxes[0].name!r} is {shape_words(boxes[0])} and another holds scores"
    pair = _pair(outputs)
    if pair is not None:
        names, places = " and ".join(repr(spec.name) for spec in pair), axis(pair[0], 1)
        return "detection", f"its outputs {names} are boxes and scores for {places} places"
    if len(outputs) == 1 and _is_wide(outputs[0]):
        return "detection", f"{said(outputs[0])}, box and scores for each of many places"
    if len(outputs) > 1 and _halve(outputs):
        return "detection", f"its {len(outputs)} outputs are maps with as many channels, on grids that halve"
    return None


def _pair(outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, TensorSpec] | None:
    """[N, B, 4 k] and [N, B, C] with the same large B."""
    dense = [s for s in outputs if s.shape is not None and len(s.shape) == 3 and (axis(s, 1) or 0) >= MANY_BOXES]
    for boxes in dense:
        for scores in dense:
            if boxes is not scores and axis(boxes, 1) == axis(scores, 1) and (axis(boxes, 2) or 1) % 4 == 0:
                return boxes, scores
    return None


def _is_wide(output: TensorSpec) -> bool:
    """[N, 4 + C, B] or [N, B, 5 + C]; [N, K, 6] once boxes are chosen."""
    if output.shape is None or len(output.shape) != 3 or not output.dtype.startswith("float"):
        return False
    a, b = axis(output, 1) or 0, axis(output, 2) or 0
    return (b == 6 and a >= CHOSEN_BOXES) or (min(a, b) >= 5 and max(a, b) >= max(MANY_BOXES, 2 * min(a, b)))


def _halve(outputs: Sequence[TensorSpec]) -> bool:
    """[N, C, H, W] with the same C, each grid with half the side of the one before."""
    shapes = [spec.shape or () for spec in outputs]
    if any(len(shape) != 4 or not all(isinstance(size, int) for size in shape[1:]) for shape in shapes):
        return False
    widths: list[Any] = sorted((shape[3] for shape in shapes), reverse=True)
    return len({shape[1] for shape in shapes}) == 1 and all(a == 2 * b for a, b in itertools.pairwise(widths))
