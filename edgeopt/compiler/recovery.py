"""Whether and how a recipe trains: the steps `recover` (what is left of a network) and `train_int8`, as planned. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Budget, Recipe, Recovery, Step

RECOVER, INT8 = "recover", "train_int8"
TRAINING = frozenset({RECOVER, INT8})
"""Steps that train."""

TORCH = "torch"
"""Name of our extra, and of what it brings among the installed tools."""

EXTRA = "pip install 'edgeopt[torch]'"
UNTRAINED = f"; not trained afterwards, which takes PyTorch: {EXTRA}"
INSTANT = "; not trained afterwards, for which the budget has no time"


def trains(recipe: Recipe) -> bool:
    """Whether training is a part of it."""
    return any(step.name in TRAINING for step in recipe.steps)


def _nothing_else(recipe: Recipe) -> bool:
    """Whether without its training it would be another recipe."""
    return any(step.name == INT8 for step in recipe.steps)


def no_torch(recipe: Recipe, installed: Mapping[str, str], budget: Budget, *, asked: bool) -> str | None:
    """Why a recipe cannot be built as it says; None when it can, or goes on without training, as one does that nobody asked for by name."""
    if _nothing_else(recipe):
        missing = None if TORCH in installed else f"it trains, and PyTorch is not installed: {EXTRA}"
        return "it trains, for which the budget instant has no time" if budget == "instant" else missing
    if not asked or budget == "instant" or not trains(recipe) or TORCH in installed:
        return None
    return f"it trains what is left, and PyTorch is not installed: {EXTRA}; or --budget instant, which does not train"


def with_training(
    recipe: Recipe, model: ModelInfo, recovery: Recovery, budget: Budget, installed: Mapping[str, str]
) -> Recipe:
    """The recipe with its training as it is wished for, or without where that cannot be, and then its title says so."""
    if not trains(recipe):
        return recipe
    if budget == "instant" or TORCH not in installed:
        if _nothing_else(recipe):
            return recipe
        title = recipe.title + (INSTANT if budget == "instant" else UNTRAINED)
        return msgspec.structs.replace(recipe, title=title, steps=tuple(s for s in recipe.steps if s.name != RECOVER))
    wished = {
        "trainable": recovery.trainable,
        "objectives": list(recovery.objectives),
        "seed": recovery.seed,
        "task": model.task,
        "version": installed[TORCH],
    }
    steps = tuple(Step(name=s.name, options=s.options | wished) if s.name in TRAINING else s for s in recipe.steps)
    return msgspec.structs.replace(recipe, steps=steps)
