"""Class scores as log-probabilities, whatever the network ends in, and what follows from them.

For a position with teacher p_T, student p_S and their answers y_T = argmax p_T, y_S = argmax p_S:

- KL = sum_c p_T(c) log(p_T(c) / p_S(c)), in nats, at temperature 1; probabilities below `FLOOR` count as `FLOOR`, since quantised softmax outputs are often exactly 0.
- margin = p_T(y_T) - p_T(y_S): the accuracy that the flip costs if the teacher's probabilities are right; 0 where both answer alike.
  Its mean is the expected drop in accuracy. It is never negative, though a true drop can be.
- variance of the outcome (1: only the teacher was right, -1: only the student was, 0: neither) of a flip: p_T(y_T) + p_T(y_S) - margin^2; 0 without a flip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from edgeopt.compiler.score.form import Array

Kind = Literal["logits", "probabilities", "log-probabilities", "independent"]
"""`independent`: every score lies in 0..1 but they do not add up to 1, as those of sigmoids: no distribution over the classes."""

FLOOR = 1e-7
SUM_TOLERANCE = 0.02
"""Of a sum of probabilities from 1: half precision over thousands of classes is that far off."""


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """Positions of one sample: arrays [P]. All but `same` are None where scores are no distribution."""

    same: Array
    kl: Array | None = None
    margins: Array | None = None
    variances: Array | None = None


def kind_of(scores: Sequence[Array]) -> Kind:
    """Tell what the teacher's scores [P, C] of each sample are; rows that are not finite are not asked. One sample at a time is copied."""
    possible: set[Kind] = {"probabilities", "independent", "log-probabilities"}
    asked = False
    for row in scores:
        finite = row[np.isfinite(row).all(axis=1)].astype(np.float64)
        if finite.size:
            asked = True
            possible &= _kinds_of(finite)
    order: tuple[Kind, ...] = ("probabilities", "independent", "log-probabilities")
    return next((kind for kind in order if kind in possible), "logits") if asked else "logits"


def _kinds_of(rows: Array) -> set[Kind]:
    """What finite rows [P, C] could be beside logits."""
    lowest, highest = float(rows.min()), float(rows.max())
    if lowest >= 0.0 and highest <= 1.0 + SUM_TOLERANCE:
        return {"probabilities", "independent"} if _adds_up(rows.sum(axis=1)) else {"independent"}
    return {"log-probabilities"} if highest <= SUM_TOLERANCE and _adds_up(np.exp(rows).sum(axis=1)) else set()


def _adds_up(sums: Array) -> bool:
    return bool((np.abs(sums - 1.0) <= SUM_TOLERANCE).all())


def compare_positions(r: Array, y: Array, kind: Kind) -> Positions:
    """Compare scores [P, C] of one sample. A NaN never agrees; where either is not finite, KL and margin are NaN."""
    top, answer = np.argmax(r, axis=1), np.argmax(y, axis=1)
    same = (top == answer) & ~np.isnan(y).any(axis=1)
    if kind == "independent":
        return Positions(same=same)
    known = np.isfinite(r).all(axis=1) & np.isfinite(y).all(axis=1)
    kl, margins, variances = np.full((3, len(r)), np.nan)
    teacher, student = log_probabilities(r[known], kind), log_probabilities(y[known], kind)
    p = np.exp(teacher)
    kl[known] = np.maximum(0.0, (p * (teacher - student)).sum(axis=1))
    rows = np.arange(len(p))
    kept, taken = p[rows, top[known]], p[rows, answer[known]]
    margins[known] = kept - taken
    variances[known] = np.where(top[known] == answer[known], 0.0, kept + taken - np.square(kept - taken))
    return Positions(same=same, kl=kl, margins=margins, variances=variances)


def log_probabilities(scores: Array, kind: Kind) -> Array:
    """[P, C] of finite scores as log-probabilities, each at least log `FLOOR` before they are made to add up to 1."""
    values = scores.astype(np.float64)
    if kind == "probabilities":
        values = np.log(np.maximum(values, FLOOR))
    values = values - values.max(axis=1, keepdims=True, initial=-np.inf)
    values = np.maximum(values, np.log(FLOOR))
    normalised: Array = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return normalised
