"""Masked reconstruction: the student sees a part of the input and gives the features that the teacher has of the whole.

After He et al., *Masked Autoencoders Are Scalable Vision Learners*, CVPR 2022, with the teacher's features in place of pixels, as in Wei et al., *Masked Feature Prediction*, CVPR 2022.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.compiler.train.augment import spatial_axes
from edgeopt.compiler.train.objectives.mimic import squared
from edgeopt.compiler.train.objectives.scene import Scene, Tensors

SHARE = 0.5
PATCHES = 8
"""Patches along each side."""


def masked(scene: Scene) -> Any:
    """Normalised squared error of the last features; None where the input is no array of numbers or there are no such features."""
    last = scene.compared.last
    if last is None or not all(x.is_floating_point() and x.dim() > 1 for x in scene.feeds.values()):
        return None
    hidden = {name: hide(x, scene.random) for name, x in scene.feeds.items()}
    student: Tensors = scene.run_student(hidden)
    return squared(scene.teacher[last], student[last])


def hide(x: Any, random: Any) -> Any:
    """Half of the patches of a picture, or of the values of anything else, set to the sample's mean."""
    axes = spatial_axes(x)
    mean = x.mean(tuple(range(1, x.dim())), keepdim=True)
    if axes is None:
        seen = torch.rand(x.shape, generator=random) >= SHARE
        return torch.where(seen.to(x.device), x, mean)
    grid = torch.rand(x.shape[0], PATCHES, PATCHES, generator=random) >= SHARE
    rows, columns = (torch.arange(x.shape[axis]) * PATCHES // x.shape[axis] for axis in axes)
    seen = grid[:, rows][:, :, columns]
    shape = [x.shape[a] if a in (0, *axes) else 1 for a in range(x.dim())]
    return torch.where(seen.reshape(shape).to(x.device), x, mean)
