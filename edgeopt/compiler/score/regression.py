"""Numbers: 1 - nRMSE, cut at 0.

Over n samples and all elements k of all float outputs o: SSE = sum (r - y)^2, SST = sum (r - mean_i r)^2, the mean over samples for each element.
nRMSE_o = sqrt(SSE / SST), R2_o = 1 - SSE / SST; both are averaged over outputs. An output that never changes over the samples has no scale and is left out.
"""

from __future__ import annotations

import math

import numpy as np

from edgeopt.compiler.score.form import Array, Outputs
from edgeopt.compiler.score.scored import Scored

NO_BOUND = "an error in the units of the outputs bounds no accuracy"


def score_regression(reference: Outputs, outputs: Outputs) -> Scored | str:
    """Score every float output; a sentence when no output of the teacher varies over the samples, so that there is no scale to judge by."""
    judged = [found for j in range(len(reference[0])) if (found := _output(reference, outputs, j)) is not None]
    if not judged:
        return "the original answers the same to every sample, so errors have no scale to judge by"
    left_out = len(reference[0]) - len(judged)
    nrmse = float(np.mean([math.sqrt(share) for share, _ in judged]))
    each = np.mean([own for _, own in judged], axis=0)
    return Scored(
        metric="one_minus_nrmse",
        agreement=max(0.0, 1.0 - nrmse),
        each=np.maximum(0.0, 1.0 - each),
        extra={"r2": float(np.mean([1.0 - share for share, _ in judged]))},
        reasons={"agreement_lower": NO_BOUND},
        notes=(f"{left_out} outputs are not floats, or the same for every sample, and are left out",)
        if left_out
        else (),
    )


def _output(reference: Outputs, outputs: Outputs, j: int) -> tuple[float, Array] | None:
    """(SSE / SST, [n] every sample's own root of n times its part of it); None when there is no scale."""
    shapes = {row[j].shape for row in reference}
    if reference[0][j].dtype.kind != "f" or len(shapes) > 1:
        return None
    mean = _mean([row[j] for row in reference])
    errors, spreads = [], []
    for expected, got in zip(reference, outputs, strict=True):
        r, y = expected[j].astype(np.float64), got[j].astype(np.float64)
        known = np.isfinite(r) & np.isfinite(y)
        with np.errstate(over="ignore"):
            errors.append(float(np.square(r[known] - y[known]).sum()))
            spreads.append(float(np.square(r[known] - mean[known]).sum()))
    total = math.fsum(spreads)
    if not 0.0 < total < math.inf:
        return None
    own = np.sqrt(np.array(errors) * len(errors) / total)
    return math.fsum(errors) / total, own


def _mean(arrays: list[Array]) -> Array:
    """Mean over samples for each element; an infinity or NaN counts as 0, its element is left out anyway."""
    total = np.zeros(arrays[0].shape)
    for array in arrays:
        total += np.nan_to_num(array.astype(np.float64) / len(arrays), nan=0.0, posinf=0.0, neginf=0.0)
    return total
