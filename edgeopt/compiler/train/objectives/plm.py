"""Permutation language modelling against the teacher: Yang et al., *XLNet*, NeurIPS 2019.

A random order of the places is drawn; what comes late in it is hidden, and the student answers there from what comes early as the teacher does. A graph cannot be given the order itself
(that takes XLNet's two streams), so hiding is by other tokens, and a sixth of the order is predicted, as in that paper.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.compiler.train.objectives.scene import Scene
from edgeopt.compiler.train.objectives.tokens import at_places, ids_of, replaced

PREDICTED = 1 / 6


def plm(scene: Scene) -> Any:
    """Divergence at the places behind a random cut of the order; None where there are no tokens, or no answers by place."""
    name = ids_of(scene.feeds)
    if name is None:
        return None
    count, places = scene.feeds[name].shape
    rank = torch.rand(count, places, generator=scene.random).argsort(1).argsort(1)
    # The cut lies anywhere in the later half: what is behind it is hidden, what comes first behind it is predicted.
    cut = (places * (0.5 + torch.rand(count, 1, generator=scene.random) / 2 * (1 - PREDICTED))).long()
    hidden = rank >= cut
    target = hidden & (rank < cut + max(1, round(places * PREDICTED)))
    damaged = {**scene.feeds, name: replaced(scene.feeds[name], hidden, scene.random)}
    return at_places(scene, scene.run_teacher(damaged), scene.run_student(damaged), target)
