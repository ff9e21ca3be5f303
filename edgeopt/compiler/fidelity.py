"""How far a variant's answers are from the original's. Pure numpy: values in, a record out.

Definitions, for samples i and outputs j, reference r_ij, answer y_ij:

- agreement, task `classification`: share of samples whose first output has its largest score at the same class in both
  (a sample with several rows, N > 1, counts each row). Other tasks: the cosine below.
- agreement_lower: one-sided 95 % Clopper-Pearson bound (Clopper and Pearson, Biometrika 26, 1934), exact for independent samples.
- cosine: r.y / (|r| |y|) per sample and float output, averaged over outputs, then over samples; 1 when both are zero, 0 when one is.
  Integer and bool outputs count as their share of equal elements.
- SQNR in dB: 10 log10(sum r^2 / sum (r - y)^2), both sums over all samples and all float outputs; None when the noise is zero.
- finite: no NaN and no infinity in the answers where the reference is finite. Elements where the reference itself is not finite are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from edgeopt.domain.model import Task
from edgeopt.domain.variant import Fidelity

Array = np.ndarray[Any, np.dtype[Any]]
Outputs = Sequence[Sequence[Array]]
"""Samples x outputs."""

ALPHA = 0.05
LARGEST = float(np.finfo(np.float64).max)
"""Records hold no infinity: JSON has none."""


class Mismatch(Exception):
    """The answers have another form than the reference's, so they cannot be compared."""


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One output of one sample, compared."""

    cosine: float
    signal: float
    noise: float
    max_abs_error: float
    identical: bool
    finite: bool
    excluded: int


def compare(reference: Outputs, outputs: Outputs, *, task: Task, where: Literal["host", "device"]) -> Fidelity:
    """Compare answers, samples x outputs, with the original's.

    Raises:
        Mismatch: another number of samples or outputs, other shapes, integers for floats, or no samples at all.
    """
    _check_form(reference, outputs)
    pairs = [[_compare_pair(r, y) for r, y in zip(a, b, strict=True)] for a, b in zip(reference, outputs, strict=True)]
    flat = [pair for row in pairs for pair in row]
    cosine = float(np.mean([np.mean([pair.cosine for pair in row]) for row in pairs]))
    signal, noise = math.fsum(pair.signal for pair in flat), math.fsum(pair.noise for pair in flat)
    finite = all(pair.finite for pair in flat)
    if task == "classification":
        same, total = _top1(reference, outputs)
        agreement, lower = same / total, clopper_pearson_lower(same, total)
    else:
        agreement, lower = cosine, None
    return Fidelity(
        where=where,
        metric="top1" if task == "classification" else "cosine",
        samples=len(reference),
        agreement=agreement,
        agreement_lower=lower,
        cosine=cosine,
        sqnr_db=_sqnr_db(signal, noise),
        max_abs_error=max(pair.max_abs_error for pair in flat),
        identical=all(pair.identical for pair in flat),
        finite=finite,
        notes=_notes(flat, signal, noise),
    )


def _notes(pairs: Sequence[_Pair], signal: float, noise: float) -> tuple[str, ...]:
    """What the figures leave out, as sentences."""
    notes = []
    excluded = sum(pair.excluded for pair in pairs)
    if excluded:
        notes.append(f"{excluded:,} values were left out because the original itself answers NaN or infinity there")
    if not all(pair.finite for pair in pairs):
        notes.append("it answers NaN or infinity where the original does not; error and SQNR are over the other values")
    if noise > 0.0 and _sqnr_db(signal, noise) is None:
        notes.append("no SQNR: the original's answers are all zero, or too large to square")
    return tuple(notes)


def _sqnr_db(signal: float, noise: float) -> float | None:
    if not (0.0 < noise < math.inf and 0.0 < signal < math.inf):
        return None
    return 10.0 * (math.log10(signal) - math.log10(noise))


def _check_form(reference: Outputs, outputs: Outputs) -> None:
    if not reference:
        raise Mismatch("there are no samples to compare")
    if len(reference) != len(outputs):
        raise Mismatch(f"there are answers to {len(outputs)} samples, not {len(reference)}")
    for index, (expected, got) in enumerate(zip(reference, outputs, strict=True)):
        if not expected or len(expected) != len(got):
            raise Mismatch(f"sample {index} has {len(got)} outputs, not {len(expected)}")
        for j, (r, y) in enumerate(zip(expected, got, strict=True)):
            if r.shape != y.shape:
                raise Mismatch(f"output {j} of sample {index} has the shape {list(y.shape)}, not {list(r.shape)}")
            if (r.dtype.kind == "f") != (y.dtype.kind == "f"):
                raise Mismatch(f"output {j} of sample {index} is {y.dtype}, not {r.dtype}")


def _compare_pair(reference: Array, answer: Array) -> _Pair:
    if reference.size == 0:
        return _Pair(cosine=1.0, signal=0.0, noise=0.0, max_abs_error=0.0, identical=True, finite=True, excluded=0)
    if reference.dtype.kind != "f":
        return _compare_exact(reference, answer)
    known = np.isfinite(reference)
    answered = np.isfinite(answer)
    finite = bool(answered[known].all())
    both = known & answered
    r, y = reference[both].astype(np.float64), answer[both].astype(np.float64)
    with np.errstate(all="ignore"):
        difference = r - y
        signal, noise = float(r @ r), float(difference @ difference)
        largest = float(np.max(np.abs(difference), initial=0.0))
    return _Pair(
        cosine=_cosine(r, y) if finite else 0.0,
        signal=signal,
        noise=noise,
        max_abs_error=min(largest, LARGEST),
        identical=bool(np.array_equal(reference, answer, equal_nan=True)),
        finite=finite,
        excluded=int(reference.size - known.sum()),
    )


def _compare_exact(reference: Array, answer: Array) -> _Pair:
    """Labels, counts, masks: right or wrong. They add nothing to SQNR."""
    share = float(np.mean(reference == answer))
    gap = np.abs(reference.astype(np.float64) - answer.astype(np.float64))
    return _Pair(
        cosine=share,
        signal=0.0,
        noise=0.0,
        max_abs_error=float(np.max(gap)),
        identical=share == 1.0,
        finite=True,
        excluded=0,
    )


def _cosine(r: Array, y: Array) -> float:
    """Scaled first, so that the squares of large answers do not overflow."""
    largest = max(float(np.max(np.abs(r), initial=0.0)), float(np.max(np.abs(y), initial=0.0)))
    if largest == 0.0:
        return 1.0
    r, y = r / largest, y / largest
    norms = math.sqrt(float(r @ r) * float(y @ y))  # one root, so that equal answers give exactly 1
    return float(min(1.0, max(-1.0, float(r @ y) / norms))) if norms > 0.0 else 0.0


def _top1(reference: Outputs, outputs: Outputs) -> tuple[int, int]:
    """(rows with the same best class, rows). A NaN never agrees."""
    same = total = 0
    for expected, got in zip(reference, outputs, strict=True):
        r, y = _scores(expected[0]), _scores(got[0])
        agrees = (np.argmax(r, axis=1) == np.argmax(y, axis=1)) & ~np.isnan(y).any(axis=1)
        same += int(agrees.sum())
        total += len(agrees)
    if total == 0:
        raise Mismatch("the first output has no rows of class scores")
    return same, total


def _scores(array: Array) -> Array:
    """[N, C] or [N, C, 1, 1] as [N, C]; a bare [C] is one row."""
    if array.size == 0:
        return np.zeros((0, 1))
    if array.ndim <= 1:
        return array.reshape(1, -1)
    return array.reshape(array.shape[0], -1)


def clopper_pearson_lower(successes: int, n: int, alpha: float = ALPHA) -> float:
    """Exact one-sided lower bound of a share at confidence 1 - alpha: the p at which `successes` or more of n has probability alpha.

    By bisection on the binomial tail, whose terms are added in log space. Clopper and Pearson, Biometrika 26 (1934).

    Raises:
        ValueError: not 0 <= successes <= n, n < 1, or not 0 < alpha < 1.
    """
    if not (0 <= successes <= n and n >= 1 and 0.0 < alpha < 1.0):
        raise ValueError(f"no bound for {successes} of {n} at alpha {alpha}")
    if successes == 0:
        return 0.0
    if successes == n:
        return float(alpha ** (1.0 / n))
    k = np.arange(successes, n + 1)
    log_choose = math.lgamma(n + 1) - np.array([math.lgamma(i + 1) + math.lgamma(n - i + 1) for i in k])
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2.0
        if _tail(k, n, middle, log_choose) < alpha:
            low = middle
        else:
            high = middle
    return low


def _tail(k: Array, n: int, p: float, log_choose: Array) -> float:
    """P(X >= k[0]) for X ~ Binomial(n, p)."""
    terms = log_choose + k * math.log(p) + (n - k) * math.log1p(-p)
    top = float(np.max(terms))
    return math.exp(top) * float(np.sum(np.exp(terms - top)))
