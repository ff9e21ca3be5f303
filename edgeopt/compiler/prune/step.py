"""The steps `prune`, `low_rank` and `drop_layers` from their options as data. Child side."""

from __future__ import annotations

from typing import Any

from edgeopt.compiler.prune.budgets import BUDGETS
from edgeopt.compiler.prune.cost import rates_of
from edgeopt.compiler.prune.drop import drop_layers
from edgeopt.compiler.prune.low_rank import low_rank
from edgeopt.compiler.prune.run import prune
from edgeopt.compiler.running import Feeds

NO_CLASSES = ("embedding", "regression")
"""Tasks whose answers look like class scores and are none."""


def prune_step(model: Any, options: dict[str, Any], feeds: Feeds, notes: list[str]) -> Any:
    """Fewer channels and blocks, what is left fitted to the samples."""
    made = prune(
        model,
        feeds,
        latency=float(options["latency"]),
        block=int(options["block"]),
        rates=rates_of(options["gmac_per_s"], options["gb_per_s"]),
        budget=BUDGETS[options["budget"]],
        classes=options["task"] not in NO_CLASSES,
        by_magnitude=options["score"] == "magnitude",
    )
    notes.extend(made.notes)
    return made.model


def low_rank_step(model: Any, options: dict[str, Any], feeds: Feeds, notes: list[str]) -> Any:
    """Large products as two smaller ones, where that pays."""
    made = low_rank(
        model,
        feeds,
        energy=float(options["energy"]),
        block=int(options["block"]),
        rates=rates_of(options["gmac_per_s"], options["gb_per_s"]),
        budget=BUDGETS[options["budget"]],
        classes=options["task"] not in NO_CLASSES,
    )
    notes.extend(made.notes)
    return made.model


def drop_layers_step(model: Any, options: dict[str, Any], feeds: Feeds, notes: list[str]) -> Any:
    """Fewer layers of a stack of alike ones."""
    made = drop_layers(model, feeds, share=float(options["share"]))
    notes.extend(made.notes)
    return made.model
