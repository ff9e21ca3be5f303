"""Masks: mean intersection over union of what the variant marks with what the teacher marks.

For class c, over all held-out samples together: IoU_c = |both mark c| / |either marks c|. The agreement is the mean over the classes that either marks
anywhere (Everingham et al., IJCV 88 (2010), with the teacher's masks for the truth). A sample's own agreement is the same over its pixels alone.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgeopt.compiler.score.form import Array, Mismatch, Outputs
from edgeopt.compiler.score.probabilities import Kind, compare_positions, kind_of
from edgeopt.compiler.score.scored import Scored
from edgeopt.compiler.score.top1 import LABELS_ONLY, NO_DISTRIBUTION, missing, two_columns

NO_BOUND = "no exact bound is known for a mean of intersections over unions"
_ENOUGH = 8
"""Samples that are asked for what scores are."""


def score_segmentation(reference: Outputs, outputs: Outputs) -> Scored:
    """Score by the first output: scores [N, C, H, W] or [N, H, W, C], one score [N, 1, H, W] of yes against no, or labels [N, H, W].

    Raises:
        Mismatch: it has no pixels.
    """
    first = reference[0][0]
    if not any(expected[0].size for expected in reference):
        raise Mismatch("the first output has no pixels")
    if first.dtype.kind != "f":
        labels = [(r[0].reshape(-1), y[0].reshape(-1)) for r, y in zip(reference, outputs, strict=True)]
        return _scored(labels, None, LABELS_ONLY)
    axis = class_axis(first)
    kind = kind_of(two_columns([_pixels(expected[0], axis) for expected in reference[:_ENOUGH]]))
    masks: list[tuple[Array, Array]] = []
    distances: list[tuple[float, float, float]] = []
    for expected, got in zip(reference, outputs, strict=True):
        r, y = (two_columns([_pixels(one[0], axis)])[0] for one in (expected, got))
        masks.append((np.argmax(r, axis=1), np.where(np.isnan(y).any(axis=1), -1, np.argmax(y, axis=1))))
        distances.append(_distances(r, y, kind))
    if kind == "independent":
        return _scored(masks, None, NO_DISTRIBUTION)
    return _scored(masks, np.array(distances).T, None)


def class_axis(array: Array) -> int:
    """1 or the last axis, whichever is shorter: there are more pixels in a row than classes. Rank 3 [N, H, W] has no classes: a new last axis."""
    return 1 if array.ndim < 4 or array.shape[1] <= array.shape[-1] else array.ndim - 1


def _pixels(array: Array, axis: int) -> Array:
    """Scores as [pixels, C]."""
    if array.ndim < 4 or array.size == 0:
        return array.reshape(-1, 1)
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def _distances(r: Array, y: Array, kind: Kind) -> tuple[float, float, float]:
    """Mean KL, mean margin, and the variance of the mean outcome, over the known pixels of a sample; NaN where there is none.

    Neighbours are right or wrong together, so a sample counts as one outcome: its mean variance is that of its mean.
    """
    found = compare_positions(r, y, kind)
    parts = [
        part for part in (found.kl, found.margins, found.variances) if part is not None and not np.isnan(part).all()
    ]
    if len(parts) < 3:
        return float("nan"), float("nan"), float("nan")
    return float(np.nanmean(parts[0])), float(np.nanmean(parts[1])), float(np.nanmean(parts[2]))


def _scored(masks: list[tuple[Array, Array]], distances: Array | None, reason: str | None) -> Scored:
    """`distances` [3, n]: KL, margin, variance."""
    both, either = Counter[int](), Counter[int]()
    kl, margins, variances = (None, None, None) if distances is None else distances
    each = []
    for r, y in masks:
        shared, marked = overlaps(r, y)
        both, either = both + shared, either + marked
        each.append(mean_iou(shared, marked))
    return Scored(
        metric="miou",
        agreement=mean_iou(both, either),
        each=np.array(each),
        kl=kl,
        margins=margins,
        variances=variances,
        reasons={"agreement_lower": NO_BOUND} | (missing(reason) if reason else {}),
        notes=("the expected drop is of the share of right pixels, not of mean IoU",) if reason is None else (),
    )


def overlaps(r: Array, y: Array) -> tuple[Counter[int], Counter[int]]:
    """Pixels that both mark with a class, and pixels that either does. Class -1 is no answer, and no class."""
    same = _counts(r[r == y])
    every = _counts(r) + _counts(y)
    marked = Counter({c: count - same[c] for c, count in every.items() if c >= 0})
    return Counter({c: count for c, count in same.items() if c >= 0}), marked


def _counts(labels: Array) -> Counter[int]:
    values, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def mean_iou(both: Counter[int], either: Counter[int]) -> float:
    """Over the classes that either marks; 1 when there is none."""
    return float(np.mean([both[c] / count for c, count in either.items()])) if either else 1.0
