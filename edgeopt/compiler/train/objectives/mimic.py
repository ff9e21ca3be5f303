"""The base: the student's features and answers are the teacher's.

Features: Wang et al., *Compressing Models with Few Samples: Mimicking then Replacing*, CVPR 2022. Logits: Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.compared import Compared
from edgeopt.compiler.train.objectives.scene import Scene

TEMPERATURE = 2.0
BLOCK_WEIGHT = 0.5
"""Of all blocks together, beside the last features' 1."""

EPSILON = 1e-6


def mimic(scene: Scene) -> Any:
    """Normalised squared error of features, divergence of logits (T = 2, times T squared, as there), normalised squared error of other answers."""
    what = scene.compared
    total = answers_loss(what, scene.teacher, scene.student)
    if what.last is not None:
        total = total + squared(scene.teacher[what.last], scene.student[what.last])
    if what.blocks:
        blocks = [squared(scene.teacher[name], scene.student[name]) for name in what.blocks]
        total = total + BLOCK_WEIGHT * torch.stack(blocks).mean()
    return total


def answers_loss(what: Compared, teacher: Mapping[str, Any], student: Mapping[str, Any]) -> Any:
    """Of the answers alone."""
    parts = [divergence(teacher[name], student[name], axis, TEMPERATURE) * TEMPERATURE**2 for name, axis in what.logits]
    parts += [squared(teacher[name], student[name]) for name in what.values]
    return torch.stack(parts).sum()


def squared(teacher: Any, student: Any) -> Any:
    """Mean squared error as a share of the teacher's mean square."""
    teacher, student = teacher.float(), student.float()
    return functional.mse_loss(student, teacher) / (teacher.pow(2).mean() + EPSILON)


def divergence(teacher: Any, student: Any, axis: int, temperature: float = 1.0) -> Any:
    """KL(teacher || student) in nats, mean over everything but the classes."""
    log_t = functional.log_softmax(teacher.float() / temperature, axis)
    log_s = functional.log_softmax(student.float() / temperature, axis)
    return (log_t.exp() * (log_t - log_s)).sum(axis).mean()
