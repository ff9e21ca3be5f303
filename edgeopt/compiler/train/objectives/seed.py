"""The student is as near to a set of anchors as the teacher is: Fang et al., *SEED: Self-supervised Distillation for Visual Representation*, ICLR 2021.

There the anchors are a queue of the batches before; here they are a fixed set of samples that are learned from, so that nothing depends on what a run did before it was resumed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.objectives.embedding import embedding
from edgeopt.compiler.train.objectives.scene import Scene

TEACHER_TEMPERATURE, STUDENT_TEMPERATURE = 0.04, 0.2


def seed(scene: Scene) -> Any:
    """Cross-entropy between the two distributions over the anchors and the sample itself, in nats; None without anchors."""
    last = scene.compared.last
    if last is None or scene.anchors is None:
        return None
    teacher, student = embedding(scene.teacher[last]), embedding(scene.student[last])
    if teacher.shape[1] != scene.anchors.shape[1]:
        return None
    own_t, own_s = (teacher * teacher).sum(1, keepdim=True), (student * teacher).sum(1, keepdim=True)
    target = torch.softmax(torch.cat([teacher @ scene.anchors.T, own_t], 1) / TEACHER_TEMPERATURE, 1)
    found = functional.log_softmax(torch.cat([student @ scene.anchors.T, own_s], 1) / STUDENT_TEMPERATURE, 1)
    return -(target * found).sum(1).mean()
