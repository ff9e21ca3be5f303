"""What the user wants: one objective under limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

Objective = Literal["latency", "energy", "memory", "size"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Goal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits that every candidate must keep, and the quantity to make small.

    `then` decides between candidates that are alike in `objective`, in its order, before the usual tie-breaks do. With `weights` the product of the quantities, each to
    the power of its weight, is made small instead: 0.7 of latency and 0.3 of memory call one that is 10 % faster and 10 % larger the better one.

    `max_certified_accuracy_drop` limits `1 - Fidelity.agreement_lower`: with 95 % confidence the accuracy of a classifier falls by no
    more, because a correct answer can only turn wrong where the two models disagree.

    `accept_synthetic`: agreement that was measured on synthetic inputs counts. Without it no variant is picked on such evidence.
    `accept_unchecked`: what is picked may be installed though the device's own answers could not be had; the host's count then.
    """

    objective: Objective = "latency"
    then: tuple[Objective, ...] = ()
    weights: dict[Objective, Positive] = {}
    max_latency_p50_ms: Positive | None = None
    max_latency_p90_ms: Positive | None = None
    max_memory_mb: Positive | None = None
    max_size_mb: Positive | None = None
    min_agreement: Share | None = 0.98
    max_certified_accuracy_drop: Share | None = None
    accept_synthetic: bool = False
    accept_unchecked: bool = False

    @property
    def asks_for_energy(self) -> bool:
        """Whether energy decides, by itself or with a weight."""
        return "energy" in self.weights if self.weights else self.objective == "energy"


def overridden(goal: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a goal's fields with others over them. Who names an objective takes the place of weights, and of what decided after another objective."""
    named = "objective" in overrides
    kept = {key: value for key, value in goal.items() if not (named and key in ("then", "weights"))}
    return kept | dict(overrides)
