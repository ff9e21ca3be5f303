"""Figures that any outputs have: cosine, SQNR, largest error, finiteness.

Definitions, for samples i and outputs j, reference r_ij, answer y_ij:

- cosine: r.y / (|r| |y|) per sample and float output, averaged over outputs, then over samples; 1 when both are zero, 0 when one is.
  Integer and bool outputs count as their share of equal elements.
- SQNR in dB: 10 log10(sum r^2 / sum (r - y)^2), both sums over all samples and all float outputs; None when the noise is zero.
- finite: no NaN and no infinity in the answers where the reference is finite. Elements where the reference itself is not finite are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from edgeopt.compiler.score.form import Array, Outputs

LARGEST = float(np.finfo(np.float64).max)
"""Records hold no infinity: JSON has none."""


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """All outputs of all samples, compared. `cosines` has one figure per sample."""

    cosines: tuple[float, ...]
    sqnr_db: float | None
    max_abs_error: float
    identical: bool
    finite: bool
    notes: tuple[str, ...]


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One output of one sample, compared. `cosine` is None where the shapes differ."""

    cosine: float | None
    signal: float = 0.0
    noise: float = 0.0
    max_abs_error: float = 0.0
    identical: bool = False
    finite: bool = True
    excluded: int = 0


def compare_values(reference: Outputs, outputs: Outputs) -> Values:
    """Compare answers that passed `check_form`, element by element."""
    rows = [[_compare_pair(r, y) for r, y in zip(a, b, strict=True)] for a, b in zip(reference, outputs, strict=True)]
    flat = [pair for row in rows for pair in row]
    signal, noise = math.fsum(pair.signal for pair in flat), math.fsum(pair.noise for pair in flat)
    return Values(
        cosines=tuple(_mean_cosine(row) for row in rows),
        sqnr_db=_sqnr_db(signal, noise),
        max_abs_error=max(pair.max_abs_error for pair in flat),
        identical=all(pair.identical for pair in flat),
        finite=all(pair.finite for pair in flat),
        notes=tuple(_notes(flat, signal, noise)),
    )


def _mean_cosine(row: Sequence[_Pair]) -> float:
    """Over the outputs that can be compared; 0 when none can."""
    known = [pair.cosine for pair in row if pair.cosine is not None]
    return float(np.mean(known)) if known else 0.0


def _notes(pairs: Sequence[_Pair], signal: float, noise: float) -> Iterator[str]:
    """What the figures leave out, as sentences."""
    excluded = sum(pair.excluded for pair in pairs)
    if excluded:
        yield f"{excluded:,} values were left out because the original itself answers NaN or infinity there"
    if not all(pair.finite for pair in pairs):
        yield "it answers NaN or infinity where the original does not; error and SQNR are over the other values"
    if noise > 0.0 and _sqnr_db(signal, noise) is None:
        yield "no SQNR: the original's answers are all zero, or too large to square"
    unlike = sum(pair.cosine is None for pair in pairs)
    if unlike:
        yield f"{unlike:,} outputs have another number of rows than the original's; cosine and SQNR leave them out"


def _sqnr_db(signal: float, noise: float) -> float | None:
    if not (0.0 < noise < math.inf and 0.0 < signal < math.inf):
        return None
    return 10.0 * (math.log10(signal) - math.log10(noise))


def _compare_pair(reference: Array, answer: Array) -> _Pair:
    if reference.shape != answer.shape:
        return _Pair(cosine=None, finite=bool(np.isfinite(answer).all()))
    if reference.size == 0:
        return _Pair(cosine=1.0, identical=True)
    if reference.dtype.kind != "f":
        return _compare_exact(reference, answer)
    known, answered = np.isfinite(reference), np.isfinite(answer)
    both, finite = known & answered, bool(answered[known].all())
    r, y = reference[both].astype(np.float64), answer[both].astype(np.float64)
    with np.errstate(all="ignore"):
        difference = r - y
        signal, noise = float(r @ r), float(difference @ difference)
        largest = float(np.max(np.abs(difference), initial=0.0))
    return _Pair(
        cosine=cosine(r, y) if finite else 0.0,
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
    return _Pair(cosine=share, max_abs_error=float(np.max(gap)), identical=share == 1.0)


def cosine(r: Array, y: Array) -> float:
    """Cosine of two finite vectors [D]. Scaled first, so that the squares of large answers do not overflow."""
    largest = max(float(np.max(np.abs(r), initial=0.0)), float(np.max(np.abs(y), initial=0.0)))
    if largest == 0.0:
        return 1.0
    r, y = r / largest, y / largest
    norms = math.sqrt(float(r @ r) * float(y @ y))  # one root, so that equal answers give exactly 1
    return float(min(1.0, max(-1.0, float(r @ y) / norms))) if norms > 0.0 else 0.0
