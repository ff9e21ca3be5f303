"""Tasks that answer with the best of several classes: one per picture, or one per position of a text.

- classification: share of rows whose first output has its largest score at the same class in both. Its bound is Clopper and Pearson's over rows.
- tokens: the same share over the positions of a sample, averaged over samples. Positions of one sample are not independent, so the bound is over
  samples (`mean_lower`), however many positions they have.

A correct answer can only turn wrong where the two disagree, so one minus the bound limits the loss of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgeopt.compiler.score.bounds import clopper_pearson_lower, mean_lower
from edgeopt.compiler.score.form import Array, Mismatch, Outputs
from edgeopt.compiler.score.probabilities import Positions, compare_positions, kind_of
from edgeopt.compiler.score.scored import Scored

NO_DISTRIBUTION = "its scores lie between 0 and 1 but do not add up to 1, as those of sigmoids, so they are no distribution over classes"
LABELS_ONLY = "it answers labels, not scores"


def score_classification(reference: Outputs, outputs: Outputs) -> Scored:
    """Score by the first output: [N, C] or [N, C, 1, 1], a bare [C] is one row, one column is the score of yes against no.

    Raises:
        Mismatch: it has no rows.
    """
    compared, why = _compare(reference, outputs, _class_rows)
    same = sum(int(each.same.sum()) for each in compared)
    total = sum(each.same.size for each in compared)
    if total == 0:
        raise Mismatch("the first output has no rows of class scores")
    single = all(each.same.size == 1 for each in compared)
    return Scored(
        metric="top1",
        agreement=same / total,
        lower=clopper_pearson_lower(same, total),
        each=_means([each.same for each in compared], 1.0),
        kl=_known([each.kl for each in compared]),
        margins=_known([each.margins for each in compared]),
        variances=_known([each.variances for each in compared], of_means=True),
        labels=_labels(reference) if single else None,
        reasons=why,
    )


def score_tokens(reference: Outputs, outputs: Outputs) -> Scored:
    """Score by the first output [..., V], scores of V tokens or tags at every position, or labels [N, T].

    Raises:
        Mismatch: it has no positions.
    """
    compared, why = _compare(reference, outputs, _token_rows)
    if not any(each.same.size for each in compared):
        raise Mismatch("the first output has no positions with scores")
    each = _means([one.same for one in compared], 1.0)
    return Scored(
        metric="token_top1",
        agreement=float(np.mean(each)),
        lower=mean_lower(each),
        each=each,
        kl=_known([one.kl for one in compared]),
        margins=_known([one.margins for one in compared]),
        variances=_known([one.variances for one in compared]),
        reasons=why,
        notes=(
            "positions of one sample depend on each other, so the bound counts samples; padding counts as positions where the samples have no mask",
        ),
    )


def _compare(
    reference: Outputs, outputs: Outputs, rows: Callable[[Array], Array]
) -> tuple[list[Positions], dict[str, str]]:
    """Every sample's positions, and by field why there is no KL and no expected drop."""
    if any(expected[0].dtype.kind != "f" for expected in reference):
        same = [(r[0] == y[0]).reshape(-1) for r, y in zip(reference, outputs, strict=True)]
        return [Positions(same=one) for one in same], missing(LABELS_ONLY)
    teacher = two_columns([rows(expected[0]) for expected in reference])
    student = two_columns([rows(got[0]) for got in outputs])
    kind = kind_of(teacher)
    found = [compare_positions(r, y, kind) for r, y in zip(teacher, student, strict=True)]
    return found, missing(NO_DISTRIBUTION) if kind == "independent" else {}


def missing(reason: str) -> dict[str, str]:
    """Return the reason under every field that needs a distribution."""
    return dict.fromkeys(("kl", "expected_drop"), reason)


def two_columns(scores: Sequence[Array]) -> list[Array]:
    """Scores [P, 1] of yes as [P, 2] of no and yes; anything else as it is. Scores outside of 0..1 are logits, no's is 0."""
    if any(one.shape[1] != 1 for one in scores):
        return list(scores)
    values = [one.astype(np.float64) for one in scores]
    share = all(bool(((one >= 0.0) & (one <= 1.0)).all()) for one in values)
    return [np.concatenate([1.0 - one if share else np.zeros_like(one), one], axis=1) for one in values]


def _class_rows(array: Array) -> Array:
    """[N, C, ...] as [N, C ...]; a bare [C] is one row."""
    if array.size == 0:
        return np.zeros((0, 2))
    return array.reshape(1, -1) if array.ndim <= 1 else array.reshape(array.shape[0], -1)


def _token_rows(array: Array) -> Array:
    """[..., V] as [positions, V]."""
    return np.zeros((0, 2)) if array.size == 0 else array.reshape(-1, array.shape[-1] if array.ndim else 1)


def _labels(reference: Outputs) -> Array:
    scores = [expected[0] for expected in reference]
    if scores[0].dtype.kind != "f":
        return np.array([int(one.reshape(-1)[0]) for one in scores])
    return np.array([int(np.argmax(one[0])) for one in two_columns([_class_rows(one) for one in scores])])


def _means(values: Sequence[Array], empty: float) -> Array:
    """Mean of each; a sample without positions has nothing to disagree on."""
    return np.array([float(np.mean(one)) if one.size else empty for one in values])


def _known(values: Sequence[Array | None], *, of_means: bool = False) -> Array | None:
    """Means over the known positions of each sample, NaN where there is none; None when nothing is a distribution.

    `of_means`: values are variances of rows that are right or wrong on their own, and that of their mean is asked for. Without it a sample counts as
    one outcome, as it must where positions depend on each other.
    """
    arrays = [one for one in values if one is not None]
    if len(arrays) < len(values):
        return None
    kept = [one[~np.isnan(one)] for one in arrays]
    means = _means(kept, float("nan"))
    return means / np.array([max(1, one.size) for one in kept]) if of_means else means
