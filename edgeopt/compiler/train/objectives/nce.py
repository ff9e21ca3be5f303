"""Contrast: of all the teacher's embeddings of a group, the student's embedding of another view finds its own.

InfoNCE: van den Oord et al., *Representation Learning with Contrastive Predictive Coding*, 2018. Views: Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations*
(SimCLR), ICML 2020. The student's view against the teacher's: Tian et al., *Contrastive Representation Distillation*, ICLR 2020.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.augment import flipped, shifted, spatial_axes
from edgeopt.compiler.train.objectives.embedding import embedding
from edgeopt.compiler.train.objectives.scene import Scene

TEMPERATURE = 0.1
JITTER = 0.2
"""Of brightness and contrast, as a share of the picture's spread."""


def nce(scene: Scene) -> Any:
    """Cross-entropy over the group, in nats; None for fewer than two samples, or inputs that are no pictures."""
    last = scene.compared.last
    (x,) = scene.feeds.values() if len(scene.feeds) == 1 else (None,)
    axes = None if x is None or not x.is_floating_point() else spatial_axes(x)
    if last is None or axes is None or x is None or x.shape[0] < 2:
        return None
    (name,) = scene.feeds
    seen = scene.run_student({name: view(x, axes, scene.random)})
    other = scene.run_teacher({name: view(x, axes, scene.random)})
    likeness = embedding(seen[last]) @ embedding(other[last]).T / TEMPERATURE
    return functional.cross_entropy(likeness, torch.arange(x.shape[0], device=likeness.device))


def view(x: Any, axes: tuple[int, int], random: Any) -> Any:
    """Flipped, shifted, and with another brightness and contrast."""
    x = shifted(flipped(x, axes, random), axes, random)
    shape = [x.shape[0], *[1] * (x.dim() - 1)]
    contrast = 1 + JITTER * (2 * torch.rand(shape, generator=random) - 1).to(x.device)
    shift = JITTER * (2 * torch.rand(shape, generator=random) - 1).to(x.device)
    mean = x.mean(tuple(range(1, x.dim())), keepdim=True)
    return (x - mean) * contrast + mean + shift * x.std()
