"""What the user wants: one objective under limits."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Objective = Literal["latency", "energy", "memory", "size"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Goal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits that every candidate must keep, and the one quantity to make small.

    `max_certified_accuracy_drop` limits `1 - Fidelity.agreement_lower`: with 95 % confidence the accuracy of a classifier falls by no
    more, because a correct answer can only turn wrong where the two models disagree.

    `accept_synthetic`: agreement that was measured on synthetic inputs counts. Without it no variant is picked on such evidence.
    """

    objective: Objective = "latency"
    max_latency_p50_ms: Positive | None = None
    max_latency_p90_ms: Positive | None = None
    max_memory_mb: Positive | None = None
    max_size_mb: Positive | None = None
    min_agreement: Share | None = 0.98
    max_certified_accuracy_drop: Share | None = None
    accept_synthetic: bool = False
