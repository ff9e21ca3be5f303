"""Boxes out of a detector's answers, and which of two sets are the same.

Corners are (x1, y1, x2, y2) in the detector's own unit, or in shares of the picture where only the grid is known. IoU is area shared over area of both.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from edgeopt.compiler.score.form import Array, Row
from edgeopt.compiler.score.layout import Kind, Layout

IOU = 0.5
MOST = 1000
"""Boxes of one picture that suppression looks at, best first."""


class Boxes(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Arrays: corners [B, 4], scores [B], classes [B]."""

    corners: Array
    scores: Array
    classes: Array

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.scores)


def decode(row: Row, layout: Layout) -> Boxes:
    """All boxes that the outputs of one sample hold, however little they are believed in."""
    boxes = _DECODERS[layout.kind](row, layout)
    known = np.isfinite(boxes.corners).all(axis=1) & np.isfinite(boxes.scores)
    return _pick(boxes, np.flatnonzero(known))


def confident(boxes: Boxes, threshold: float) -> Boxes:
    """Boxes of a score of `threshold` or more that no better one of their class covers (IoU above 0.5), best first."""
    order = np.argsort(-boxes.scores, kind="stable")
    boxes = _pick(boxes, order[boxes.scores[order] >= threshold][:MOST])
    kept: list[int] = []
    open_ = np.ones(len(boxes), dtype=bool)
    for i in range(len(boxes)):
        if open_[i]:
            kept.append(i)
            covered = iou(boxes.corners[i : i + 1], boxes.corners)[0] > IOU
            open_ &= ~(covered & (boxes.classes == boxes.classes[i]))
    return _pick(boxes, np.array(kept, dtype=np.int64))


def matches(a: Boxes, b: Boxes) -> int:
    """Boxes of `a`, best first, each with the box of `b` that covers it best (IoU 0.5 or more, same class) and is not taken."""
    overlap = iou(a.corners, b.corners)
    overlap[a.classes[:, None] != b.classes[None]] = 0.0
    found = 0
    for line in range(len(a)):
        best = int(np.argmax(overlap[line])) if len(b) else -1
        if best >= 0 and overlap[line, best] >= IOU:
            overlap[:, best] = 0.0
            found += 1
    return found


def iou(a: Array, b: Array) -> Array:
    """[A, B] of corners [A, 4] and [B, 4]; 0 for boxes without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    either = _area(a)[:, None] + _area(b)[None] - shared
    overlap: Array = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0.0)
    return overlap


def _area(corners: Array) -> Array:
    area: Array = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0.0), axis=1)
    return area


def _pick(boxes: Boxes, places: Array) -> Boxes:
    return Boxes(corners=boxes.corners[places], scores=boxes.scores[places], classes=boxes.classes[places])


def _of(corners: Array, scores: Array, *, background: bool = False) -> Boxes:
    """From corners [B, 4] and scores [B, C]: each box is of its best class."""
    scores = scores[:, 1:] if background else scores
    classes = np.argmax(scores, axis=1)
    return Boxes(corners=corners, scores=scores[np.arange(len(scores)), classes], classes=classes)


def _listed(row: Row, layout: Layout) -> Boxes:
    (b,), (s,), (c,) = layout.boxes, layout.scores, layout.classes
    corners = row[b].reshape(-1, 4).astype(np.float64)
    return Boxes(corners=corners, scores=row[s].reshape(-1), classes=row[c].reshape(-1).astype(np.int64))


def _rows(row: Row, layout: Layout) -> Boxes:
    values = row[layout.boxes[0]].reshape(-1, 6).astype(np.float64)
    return Boxes(corners=values[:, :4], scores=values[:, 4], classes=np.rint(values[:, 5]))


def _pair(row: Row, layout: Layout) -> Boxes:
    scores = row[layout.scores[0]]
    corners = row[layout.boxes[0]].reshape(-1, 4).astype(np.float64)
    if layout.centres:
        corners = _around(corners[:, :2], corners[:, 2:])
    return _of(corners, scores.reshape(-1, scores.shape[-1]).astype(np.float64), background=layout.background)


def _wide(row: Row, layout: Layout) -> Boxes:
    values = row[layout.boxes[0]][0].astype(np.float64)
    values = values if layout.objects else values.T
    scores = _shares(values[:, 4:], layout)
    scores = scores[:, 1:] * scores[:, :1] if layout.objects else scores
    return _of(_around(values[:, :2], values[:, 2:4]), scores)


def _levels(row: Row, layout: Layout) -> Boxes:
    """Scores with objectness are the root of their product, as YuNet has it."""
    corners, scores = [], []
    for place, (b, s, grid) in enumerate(zip(layout.boxes, layout.scores, layout.grids, strict=True)):
        regressions, own = row[b][0].astype(np.float64), row[s][0].astype(np.float64)
        if layout.objects:
            own = np.sqrt(np.maximum(own * row[layout.objects[place]][0], 0.0))
        corners.append(_offsets(regressions, grid) if regressions.shape[1] == 4 else _distances(regressions, grid))
        scores.append(own)
    return _of(np.concatenate(corners), np.concatenate(scores))


def _maps(row: Row, layout: Layout) -> Boxes:
    corners, scores = [], []
    for b, grid in zip(layout.boxes, layout.grids, strict=True):
        values = row[b][0].astype(np.float64)
        values = values.reshape(len(values), -1).T
        corners.append(_offsets(values[:, :4], grid))
        own = _shares(values[:, 4:], layout)
        scores.append(own[:, 1:] * own[:, :1])
    return _of(np.concatenate(corners), np.concatenate(scores))


def _shares(values: Array, layout: Layout) -> Array:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0))) if layout.logits else values


def _cells(grid: tuple[int, int]) -> Array:
    """[hw, 2] the (column, row) of every cell."""
    down, across = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return np.stack([across, down], axis=1).astype(np.float64)


def _offsets(values: Array, grid: tuple[int, int]) -> Array:
    """Centre = cell + offset, size = exp(value), both in cells. Ge et al., YOLOX, arXiv:2107.08430."""
    size = np.array([grid[1], grid[0]], dtype=np.float64)
    return _around((_cells(grid) + values[:, :2]) / size, np.exp(np.minimum(values[:, 2:4], 20.0)) / size)


def _distances(values: Array, grid: tuple[int, int]) -> Array:
    """Distances left, up, right, down from the cell's middle in cells, each the mean of a softmax over 0 to r. Li et al., NeurIPS 2020."""
    bins = values.reshape(len(values), 4, -1)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    distance = (weights * np.arange(bins.shape[2])).sum(axis=2) / weights.sum(axis=2)
    middle, size = _cells(grid) + 0.5, np.array([grid[1], grid[0]], dtype=np.float64)
    return np.concatenate([(middle - distance[:, :2]) / size, (middle + distance[:, 2:]) / size], axis=1)


def _around(centres: Array, sizes: Array) -> Array:
    return np.concatenate([centres - sizes / 2.0, centres + sizes / 2.0], axis=1)


_DECODERS: dict[Kind, Callable[[Row, Layout], Boxes]] = {
    "listed": _listed,
    "rows": _rows,
    "pair": _pair,
    "levels": _levels,
    "maps": _maps,
    "wide": _wide,
}
