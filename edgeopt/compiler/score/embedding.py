"""Vectors that are compared with each other: is each in its place, and are its neighbours still its neighbours?

- agreement: cosine of the first output per sample, averaged, cut at 0.
- neighbour_recall: of the teacher's k nearest neighbours of a sample among the held-out ones (by cosine, k = 10 or a third of the samples), the share that
  are among the variant's k nearest, averaged over samples.
- similarity_spearman: rank correlation of all pairwise cosines (Spearman 1904; ties share their mean rank), which says whether a threshold on similarity keeps its meaning.
"""

from __future__ import annotations

import numpy as np

from edgeopt.compiler.score.form import Array, Outputs
from edgeopt.compiler.score.scored import Scored
from edgeopt.compiler.score.values import cosine

NEIGHBOURS = 10
FEWEST = 4
"""Samples below which there are no neighbours to speak of."""
NO_BOUND = "a cosine bounds no accuracy"


def score_embedding(reference: Outputs, outputs: Outputs) -> Scored:
    """Score by the first output [N, D] or [N, T, D]; of the latter the neighbours are those of the mean over T."""
    each, teacher_rows, student_rows = [], [], []
    for expected, got in zip(reference, outputs, strict=True):
        r, y = _finite(expected[0]), _finite(got[0])
        each.append(max(0.0, cosine(r.reshape(-1), y.reshape(-1))))
        teacher_rows.append(_rows(r))
        student_rows.append(_rows(y))
    teacher, student = _unit(teacher_rows), _unit(student_rows)
    extra, reasons = {}, {"agreement_lower": NO_BOUND}
    if len(teacher) < FEWEST:
        reasons |= dict.fromkeys(
            ("neighbour_recall", "similarity_spearman"), f"{len(teacher)} samples have no neighbours to speak of"
        )
    else:
        near, now = teacher @ teacher.T, student @ student.T
        extra["neighbour_recall"] = neighbour_recall(near, now)
        upper = np.triu_indices(len(near), 1)
        extra["similarity_spearman"] = spearman(near[upper], now[upper])
    return Scored(metric="cosine", agreement=float(np.mean(each)), each=np.array(each), extra=extra, reasons=reasons)


def _finite(array: Array) -> Array:
    return np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _unit(arrays: list[Array]) -> Array:
    """All rows, each of length 1; a zero vector stays zero."""
    rows = np.concatenate(arrays)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = rows / np.where(norms > 0.0, norms, 1.0)
    return unit


def _rows(array: Array) -> Array:
    """A vector [D] for each row of a sample, tokens averaged."""
    if array.ndim <= 1:
        return array.reshape(1, -1)
    if array.ndim == 3:
        pooled: Array = array.mean(axis=1)
        return pooled
    return array.reshape(array.shape[0], -1)


def neighbour_recall(near: Array, now: Array) -> float:
    """Share of the k nearest by `near` that are among the k nearest by `now`; both are similarities [n, n], n >= 2."""
    k = max(1, min(NEIGHBOURS, len(near) // 3))
    before, after = _nearest(near, k), _nearest(now, k)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(before.tolist(), after.tolist(), strict=True)]))


def _nearest(similarity: Array, k: int) -> Array:
    """[n, k] indices of the most similar others; among equals the first."""
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    return np.argsort(-others, axis=1, kind="stable")[:, :k]


def spearman(a: Array, b: Array) -> float:
    """Rank correlation of two series [m]; 1 when both are constant, 0 when one is."""
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    centred_a, centred_b = ranks_a - ranks_a.mean(), ranks_b - ranks_b.mean()
    return cosine(centred_a, centred_b)


def _ranks(values: Array) -> Array:
    """Ranks from 0; equals share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Array = (last - (counts + 1) / 2.0)[place]
    return shared
