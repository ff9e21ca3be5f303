"""Which outputs of a detector hold its boxes, and how they are written. Judged by shapes, and by the values of the teacher where shapes leave a choice.

| kind | outputs | as in |
|---|---|---|
| listed | boxes [.., K, 4], scores [.., K], classes [.., K] | SSD and Faster R-CNN after non-maximum suppression |
| rows | [.., K, 6]: corners, score, class | YOLOv10, end-to-end exports |
| pair | boxes [N, B, 4], class scores [N, B, C] | UltraFace, SSD before suppression |
| levels | for each grid: class scores [N, hw, C], offsets [N, hw, 4] or distances [N, hw, 4 (r + 1)], perhaps objectness [N, hw, 1] | YuNet, NanoDet |
| maps | for each grid [N, 5 + C, h, w]: offsets, objectness, class scores | YOLOX |
| wide | [N, 4 + C, B] or [N, B, 5 + C]: centres and sizes, (objectness,) class scores | YOLOv8; YOLOv5 |

Anything else (anchors that only the training code knows, unnormalised scores of a set predictor) is no layout: boxes are not guessed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np

from edgeopt.compiler.score.form import Array, Outputs, Row
from edgeopt.domain.model import TensorSpec

Shape = tuple[int, ...]
Kind = Literal["listed", "rows", "pair", "levels", "maps", "wide"]
MANY = 64
"""Boxes of a dense head, at least."""
_ASKED = 8
"""Samples whose values are looked at."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Indices of outputs, one for each grid; `grids` are (height, width) in cells. `background`: class 0 is nothing. `centres`: boxes are centre and size.

    `logits`: scores are brought to 0..1 by a sigmoid first.
    """

    kind: Kind
    boxes: tuple[int, ...]
    scores: tuple[int, ...] = ()
    objects: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    grids: tuple[tuple[int, int], ...] = ()
    background: bool = False
    centres: bool = False
    logits: bool = False


def find_layout(reference: Outputs, inputs: Sequence[TensorSpec] = ()) -> Layout | None:
    """Return how the teacher writes boxes, None when it cannot be told."""
    shapes = [array.shape for array in reference[0]]
    asked = reference[:_ASKED]
    for found in (
        _listed(asked, shapes),
        _rows(asked, shapes),
        _dense(asked, shapes, inputs),
        _maps(asked, shapes),
        _wide(asked, shapes),
    ):
        if found is not None:
            return found
    return None


def _listed(asked: Outputs, shapes: list[Shape]) -> Layout | None:
    """Scores lie in 0..1 and are not whole, classes are whole numbers."""
    boxes = [j for j, shape in enumerate(shapes) if len(shape) in (2, 3) and shape[-1] == 4]
    if len(boxes) != 1:
        return None
    flat = [
        j
        for j, shape in enumerate(shapes)
        if len(shape) == len(shapes[boxes[0]]) - 1 and shape == shapes[boxes[0]][:-1]
    ]
    whole = [j for j in flat if _is_whole(_values(asked, j))]
    scores = [j for j in flat if j not in whole and _is_share(_values(asked, j))]
    if len(whole) != 1 or len(scores) != 1:
        return None
    return Layout(kind="listed", boxes=(boxes[0],), scores=(scores[0],), classes=(whole[0],))


def _rows(asked: Outputs, shapes: list[Shape]) -> Layout | None:
    if len(shapes) != 1 or len(shapes[0]) not in (2, 3) or shapes[0][-1] != 6:
        return None
    values = np.concatenate([row[0].reshape(-1, 6) for row in asked])
    fits = _is_share(values[:, 4]) and _is_whole(values[:, 5])
    return Layout(kind="rows", boxes=(0,)) if fits else None


def _dense(asked: Outputs, shapes: list[Shape], inputs: Sequence[TensorSpec]) -> Layout | None:
    """One pair, or several grids of them: outputs [N, B, *] with the same B belong together."""
    counts = sorted({shape[1] for shape in shapes if len(shape) == 3 and shape[1] >= MANY}, reverse=True)
    levels = [_level(asked, shapes, count) for count in counts]
    found = [level for level in levels if level is not None]
    if not found or len(found) < len(levels):
        return None
    if len(found) == 1 and len(found[0]) == 2 and shapes[found[0][0]][2] == 4:
        return _pair(asked, *found[0])
    grids = [_grid(count, inputs) for count in counts]
    known = [grid for grid in grids if grid is not None]
    if len(known) < len(grids) or len({len(level) for level in found}) > 1:
        return None
    return Layout(
        kind="levels",
        boxes=tuple(level[0] for level in found),
        scores=tuple(level[1] for level in found),
        objects=tuple(level[2] for level in found if len(level) == 3),
        grids=tuple(known),
    )


def _level(asked: Outputs, shapes: list[Shape], count: int) -> tuple[int, ...] | None:
    """(boxes, scores) or (boxes, scores, objectness) of a grid. Scores lie in 0..1; where two have one column, objectness is the later one."""
    mine = [j for j, shape in enumerate(shapes) if len(shape) == 3 and shape[1] == count]
    scores = [j for j in mine if _is_share(_values(asked, j))]
    boxes = [j for j in mine if shapes[j][2] == 4] or [j for j in mine if j not in scores and shapes[j][2] % 4 == 0]
    scores = [j for j in scores if j not in boxes]
    if len(boxes) != 1 or len(scores) not in (1, 2) or (len(scores) == 2 and shapes[scores[1]][2] != 1):
        return None
    return (boxes[0], *scores)


def _pair(asked: Outputs, boxes: int, scores: int) -> Layout | None:
    """Corners when nearly all boxes have their second corner below and right of the first; centres when sizes are positive; else raw regressions."""
    b = np.concatenate([row[boxes].reshape(-1, 4) for row in asked]).astype(np.float64)
    s = np.concatenate([row[scores].reshape(-1, row[scores].shape[-1]) for row in asked]).astype(np.float64)
    corners = float(np.mean((b[:, 2] > b[:, 0]) & (b[:, 3] > b[:, 1]))) > 0.95
    if not corners and float(b[:, 2:].min()) < 0.0:
        return None
    background = s.shape[1] > 1 and bool((np.abs(s.sum(axis=1) - 1.0) < 0.02).all())
    return Layout(kind="pair", boxes=(boxes,), scores=(scores,), background=background, centres=not corners)


def _grid(count: int, inputs: Sequence[TensorSpec]) -> tuple[int, int] | None:
    """(height, width) of so many cells: the input's sides over a power of two, or a square."""
    for height, width in _sides(inputs):
        for stride in (4, 8, 16, 32, 64, 128):
            if math.ceil(height / stride) * math.ceil(width / stride) == count:
                return math.ceil(height / stride), math.ceil(width / stride)
    side = math.isqrt(count)
    return (side, side) if side * side == count else None


def _sides(inputs: Sequence[TensorSpec]) -> Iterator[tuple[int, int]]:
    """(height, width) of inputs [N, C, H, W] and [N, H, W, C]."""
    for spec in inputs:
        axes = [axis for axis in spec.shape or () if isinstance(axis, int)][-3:]
        if spec.shape is not None and len(spec.shape) == 4 and len(axes) == 3:
            yield (axes[1], axes[2]) if axes[0] <= 4 else (axes[0], axes[1])


def _maps(asked: Outputs, shapes: list[Shape]) -> Layout | None:
    """As many channels on every grid, each grid half the one before. Three anchors of 5 + C channels look like this, too, and are left alone."""
    channels = {shape[1] for shape in shapes if len(shape) == 4}
    if len(shapes) < 2 or any(len(shape) != 4 for shape in shapes) or len(channels) != 1:
        return None
    width = channels.pop()
    if width < 6 or (width % 3 == 0 and width // 3 >= 6):
        return None
    if any(a[2] != 2 * b[2] or a[3] != 2 * b[3] for a, b in itertools.pairwise(shapes)):
        return None
    logits = not all(_is_share(row[j][:, 4:]) for row in asked for j in range(len(shapes)))
    grids = tuple((shape[2], shape[3]) for shape in shapes)
    return Layout(kind="maps", boxes=tuple(range(len(shapes))), grids=grids, logits=logits)


def _wide(asked: Outputs, shapes: list[Shape]) -> Layout | None:
    """One output; the attributes are on the shorter axis. Objectness is there when boxes come first."""
    if len(shapes) != 1 or len(shapes[0]) != 3:
        return None
    n, a, b = shapes[0]
    if n != 1 or min(a, b) < 5 or max(a, b) < MANY or max(a, b) < 2 * min(a, b):
        return None
    values = np.concatenate([row[0].reshape(a, b).T if a < b else row[0].reshape(a, b) for row in asked])
    logits = not _is_share(values[:, 4:])
    return Layout(kind="wide", boxes=(0,), objects=(0,) if a > b else (), centres=True, logits=logits)


def _values(asked: Sequence[Row], j: int) -> Array:
    return np.concatenate([row[j].reshape(-1) for row in asked])


def _is_share(values: Array) -> bool:
    return values.dtype.kind == "f" and bool(((values >= -1e-6) & (values <= 1.0 + 1e-6)).all())


def _is_whole(values: Array) -> bool:
    return bool((values == np.rint(values)).all())
