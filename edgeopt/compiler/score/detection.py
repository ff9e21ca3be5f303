"""Detectors: does the variant find the teacher's boxes, and no others?

F1 = 2 M / (T + S): M matched boxes, T the teacher's, S the variant's, over all held-out samples. A box counts from a score of 0.5, or of 0.25 when the teacher
finds fewer than one in a sample at 0.5; a match has an IoU of 0.5 or more and the same class. Where boxes cannot be decoded, the same F1 of confident cells: places of
score maps above 0.5 (0.25) in both. Where there are no score maps either, the mean cosine of the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeopt.compiler.score.boxes import Boxes, confident, decode, matches
from edgeopt.compiler.score.form import Array, Outputs
from edgeopt.compiler.score.layout import Layout, find_layout
from edgeopt.compiler.score.scored import Scored
from edgeopt.domain.model import TensorSpec
from edgeopt.domain.variant import Metric

THRESHOLDS = (0.5, 0.25)
NO_BOUND = "no exact bound is known for an F1, and it bounds no accuracy"
Counts = tuple[int, int, int]
"""Of one sample: matched, the teacher's, the variant's."""


def score_detection(reference: Outputs, outputs: Outputs, inputs: Sequence[TensorSpec] = ()) -> Scored | str:
    """Return the figures, or the sentence that says why outputs can only be compared as numbers."""
    layout = find_layout(reference, inputs)
    if layout is not None:
        found = _by_boxes(reference, outputs, layout)
        return (
            found if found is not None else "the original finds nothing in the held-out samples, so boxes say nothing"
        )
    maps = [j for j in range(len(reference[0])) if _is_score_map([row[j] for row in reference])]
    if not maps or any(r[j].shape != y[j].shape for r, y in zip(reference, outputs, strict=True) for j in maps):
        return "its boxes cannot be decoded from the form of its outputs, and none of them is a map of scores"
    scored = _by_cells(reference, outputs, maps)
    return scored if scored is not None else "the original is confident of nothing in the held-out samples"


def _by_boxes(reference: Outputs, outputs: Outputs, layout: Layout) -> Scored | None:
    teacher = [decode(row, layout) for row in reference]
    student = [decode(row, layout) for row in outputs]
    for threshold in THRESHOLDS:
        mine = [confident(boxes, threshold) for boxes in teacher]
        found = sum(len(boxes) for boxes in mine)
        if found >= len(mine) or (found and threshold == THRESHOLDS[-1]):
            theirs = [confident(boxes, threshold) for boxes in student]
            counts = [_count(a, b) for a, b in zip(mine, theirs, strict=True)]
            note = f"{found} boxes of the original, written as {layout.kind!r}, of a score of {threshold} or more"
            return _scored("box_f1", counts, note)
    return None


def _count(a: Boxes, b: Boxes) -> Counts:
    return matches(a, b), len(a), len(b)


def _by_cells(reference: Outputs, outputs: Outputs, maps: Sequence[int]) -> Scored | None:
    for threshold in THRESHOLDS:
        counts = []
        for r, y in zip(reference, outputs, strict=True):
            marked, answered = _marked(r, maps, threshold), _marked(y, maps, threshold)
            counts.append((int((marked & answered).sum()), int(marked.sum()), int(answered.sum())))
        if _sums(counts)[1]:
            note = f"boxes cannot be decoded from the form of its outputs, so cells of its score maps above {threshold} are compared"
            return _scored("cell_f1", counts, note)
    return None


def _marked(row: Sequence[Array], maps: Sequence[int], threshold: float) -> Array:
    return np.concatenate([(row[j] >= threshold).reshape(-1) for j in maps])


def _is_score_map(arrays: Sequence[Array]) -> bool:
    """Floats in 0..1, many of them."""
    return all(a.dtype.kind == "f" and a.size > 1 and bool(((a >= 0.0) & (a <= 1.0)).all()) for a in arrays)


def _scored(metric: Metric, counts: Sequence[Counts], note: str) -> Scored:
    return Scored(
        metric=metric,
        agreement=_f1(_sums(counts)),
        each=np.array([_f1(one) for one in counts]),
        reasons={"agreement_lower": NO_BOUND},
        notes=(note,),
    )


def _sums(counts: Sequence[Counts]) -> Counts:
    matched, teacher, student = (sum(column) for column in zip(*counts, strict=True))
    return matched, teacher, student


def _f1(counts: Counts) -> float:
    """1 where neither finds anything."""
    matched, teacher, student = counts
    return 2.0 * matched / (teacher + student) if teacher + student else 1.0
