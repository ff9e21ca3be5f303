"""What every kind of task comes down to, before it becomes a record."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeopt.domain.variant import Metric


class Scored(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Figures of one variant over n held-out samples.

    `agreement` is in 0..1, `each` [n] is every sample's own agreement in 0..1. `kl` and `margins` [n] are means over the positions of a sample, NaN where
    nothing is known, and None when scores are no distribution; `variances` [n] those of the mean outcome of a sample around its margin. `labels` [n] is the class that the teacher answers, for tasks that have one per sample.
    `extra` holds figures by the field's name in `Fidelity`; `reasons` says by field name why one is missing.
    """

    metric: Metric
    agreement: float
    each: Any
    lower: float | None = None
    kl: Any = None
    margins: Any = None
    variances: Any = None
    labels: Any = None
    extra: dict[str, float] = {}
    reasons: dict[str, str] = {}
    notes: tuple[str, ...] = ()
