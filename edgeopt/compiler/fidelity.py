"""How far a variant's answers are from the original's: one record, by the kind of task. Pure numpy: values in, a record out.

What each figure means is said where it is computed, in `edgeopt.compiler.score`, and in short in `domain.variant.Fidelity`.

Not here on purpose: a temperature for over-confident originals from their self-consistency under augmentation (flips, shifts). On the models of
`benchmarks/compression/estimate.py` it made the expected drop better for one and worse for two: stable answers are not right answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from edgeopt.compiler.score.bounds import bootstrap_interval, clopper_pearson_lower
from edgeopt.compiler.score.detection import score_detection
from edgeopt.compiler.score.embedding import score_embedding
from edgeopt.compiler.score.form import Mismatch, Outputs, check_form
from edgeopt.compiler.score.gap import real_kernel_gap
from edgeopt.compiler.score.regression import score_regression
from edgeopt.compiler.score.scored import Scored
from edgeopt.compiler.score.segmentation import score_segmentation
from edgeopt.compiler.score.top1 import score_classification, score_tokens
from edgeopt.compiler.score.values import Values, compare_values
from edgeopt.compiler.score.worst import worst_clusters, worst_samples
from edgeopt.domain.model import Task, TensorSpec
from edgeopt.domain.variant import Fidelity

__all__ = ["Mismatch", "clopper_pearson_lower", "compare", "real_kernel_gap"]

NO_SCORES = "it has no finite scores of classes"
NO_BOUND = "only the top-1 agreement of a classifier or a token model has a bound"
_PLAIN: dict[Task, Callable[[Outputs, Outputs], Scored]] = {
    "classification": score_classification,
    "tokens": score_tokens,
    "segmentation": score_segmentation,
    "embedding": score_embedding,
}


def compare(
    reference: Outputs,
    outputs: Outputs,
    *,
    task: Task,
    where: Literal["host", "device"],
    inputs: Sequence[TensorSpec] = (),
    names: Sequence[str] = (),
    seed: int = 0,
) -> Fidelity:
    """Compare answers, samples x outputs, with the original's.

    Args:
        reference: the original's answers.
        outputs: the variant's, of the same form; detectors may answer another number of boxes.
        task: what the outputs are.
        where: who computed `outputs`.
        inputs: the model's, whose size tells the grid of a detector.
        names: of the samples, or none.
        seed: of resampling and clustering.

    Raises:
        Mismatch: another number of samples or outputs, other shapes, integers for floats, or no samples at all.
    """
    check_form(reference, outputs, open_rows=task == "detection")
    values = compare_values(reference, outputs)
    scored = _score(reference, outputs, values, task, inputs)
    drop = _expected_drop(scored, seed)
    return Fidelity(
        where=where,
        metric=scored.metric,
        samples=len(reference),
        agreement=scored.agreement,
        agreement_lower=scored.lower,
        cosine=float(np.mean(values.cosines)),
        sqnr_db=values.sqnr_db,
        max_abs_error=values.max_abs_error,
        identical=values.identical,
        finite=values.finite,
        notes=(*values.notes, *scored.notes),
        kl=_mean_known(scored.kl),
        worst_samples=worst_samples(scored.each, scored.kl, values.cosines, names),
        worst_clusters=worst_clusters(scored.each, scored.labels, reference, seed=seed),
        reasons=_reasons(scored, drop),
        synthetic=False,
        **drop,
        **scored.extra,
    )


def _score(reference: Outputs, outputs: Outputs, values: Values, task: Task, inputs: Sequence[TensorSpec]) -> Scored:
    """By task; as numbers alone where the task's own figure says nothing."""
    if task in _PLAIN:
        return _PLAIN[task](reference, outputs)
    found: Scored | str = ""
    if task == "regression":
        found = score_regression(reference, outputs)
    elif task == "detection":
        found = score_detection(reference, outputs, inputs)
    return _by_cosine(values, found) if isinstance(found, str) else found


def _by_cosine(values: Values, why: str) -> Scored:
    """Mean cosine of all outputs; `why` says why nothing better could be had, empty where nothing better was asked for."""
    each = np.clip(np.array(values.cosines), 0.0, 1.0)
    notes = (f"compared by cosine: {why}",) if why else ()
    return Scored(metric="cosine", agreement=float(np.mean(each)), each=each, notes=notes)


def _reasons(scored: Scored, drop: dict[str, Any]) -> dict[str, str]:
    """By field why a figure is None."""
    known = {"kl": _mean_known(scored.kl), "expected_drop": drop.get("expected_drop"), "agreement_lower": scored.lower}
    general = {"agreement_lower": NO_BOUND, "kl": NO_SCORES, "expected_drop": NO_SCORES}
    return scored.reasons | {f: scored.reasons.get(f, general[f]) for f, value in known.items() if value is None}


def _expected_drop(scored: Scored, seed: int) -> dict[str, Any]:
    """The mean margin, and the interval in which the drop by labels would lie. Without a flip there is nothing to resample: what is certified, either way."""
    if scored.margins is None or np.isnan(scored.margins).all():
        return {}
    known = ~np.isnan(scored.margins)
    margins = scored.margins[known]
    low, high = bootstrap_interval(margins, scored.variances[known], seed=seed)
    if not margins.any() and scored.lower is not None:
        low, high = scored.lower - 1.0, 1.0 - scored.lower
    return {"expected_drop": float(margins.mean()), "expected_drop_low": low, "expected_drop_high": high}


def _mean_known(values: Any) -> float | None:
    return None if values is None or np.isnan(values).all() else float(np.nanmean(values))
