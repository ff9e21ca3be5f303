"""Masked language modelling against the teacher: Devlin et al., *BERT*, NAACL 2019. Both read the same damaged text; the student answers at the damaged places as the teacher does."""

from __future__ import annotations

from typing import Any

from edgeopt.compiler.train.objectives.scene import Scene
from edgeopt.compiler.train.objectives.tokens import at_places, ids_of, replaced, some

SHARE = 0.15


def mlm(scene: Scene) -> Any:
    """Divergence at 15 % of the places; None where there are no tokens, or no answers by place."""
    name = ids_of(scene.feeds)
    if name is None:
        return None
    where = some(tuple(scene.feeds[name].shape), SHARE, scene.random)
    damaged = {**scene.feeds, name: replaced(scene.feeds[name], where, scene.random)}
    return at_places(scene, scene.run_teacher(damaged), scene.run_student(damaged), where)
