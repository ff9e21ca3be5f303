"""Causal language modelling against the teacher: the distribution of the next token at every place, as in Sanh et al., *DistilBERT*, 2019, and Radford et al., *GPT*, 2018."""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.compiler.train.objectives.scene import Scene
from edgeopt.compiler.train.objectives.tokens import at_places, ids_of


def clm(scene: Scene) -> Any:
    """Divergence at every place but the last, which has no next; None where there are no tokens, or no answers by place."""
    name = ids_of(scene.feeds)
    if name is None or scene.feeds[name].shape[1] < 2:
        return None
    where = torch.ones(tuple(scene.feeds[name].shape), dtype=torch.bool)
    where[:, -1] = False
    return at_places(scene, scene.teacher, scene.student, where)
