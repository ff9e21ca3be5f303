"""The objectives of a run together: what each weighs, and what of the teacher is remembered between steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.train.compared import Compared
from edgeopt.compiler.train.data import groups
from edgeopt.compiler.train.objectives import OBJECTIVES
from edgeopt.compiler.train.objectives.embedding import embedding
from edgeopt.compiler.train.objectives.mimic import mimic
from edgeopt.compiler.train.objectives.minilm import last_attention
from edgeopt.compiler.train.objectives.scene import Scene
from edgeopt.compiler.train.twin import Twin

MULTITASK = "multitask"
"""Not an objective: weights are learned, and an objective that pulls against mimicry is left out of a step."""

ANCHORS = 1024


class Memory:
    """The teacher's answers to samples that are always shown as they are: each is asked once."""

    def __init__(self, most_bytes: int = 512 << 20) -> None:
        self.left = most_bytes
        self.known: dict[int, dict[str, Any]] = {}

    def recall(self, indices: Sequence[int]) -> dict[str, Any] | None:
        """The answers to these samples, None unless all are known."""
        if not all(index in self.known for index in indices):
            return None
        first = self.known[indices[0]]
        return {name: torch.cat([self.known[index][name] for index in indices]) for name in first}

    def remember(self, indices: Sequence[int], answers: Mapping[str, Any]) -> None:
        """Keep them, as long as there is room."""
        if any(not tensor.dim() or tensor.shape[0] != len(indices) for tensor in answers.values()):
            return
        self.left -= sum(tensor.numel() * tensor.element_size() for tensor in answers.values())
        if self.left >= 0:
            for place, index in enumerate(indices):
                self.known[index] = {name: tensor[place : place + 1].clone() for name, tensor in answers.items()}


class Lessons:
    """Mimicry, and the objectives beside it by their names in `objectives.OBJECTIVES`.

    With `multitask` among the names, weights are learned as in Kendall et al., *Multi-Task Learning Using Uncertainty to Weigh Losses*, CVPR 2018 (exp(-s) * loss + s for each, s from -log of the
    fixed weight), and an objective whose gradient opposes mimicry's (negative cosine, as in Yu et al., *Gradient Surgery for Multi-Task Learning*, NeurIPS 2020) does not count in that step.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.chosen = tuple(name for name in names if name != MULTITASK)
        self.scales: Any = None
        if MULTITASK in names and self.chosen:
            start = [-np.log(OBJECTIVES[name][0]) for name in self.chosen]
            self.scales = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
        self.memory = Memory()
        self.names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.anchors: Any = None
        self.attention: Any = None
        self.silent: set[str] = set(self.chosen)

    def prepare(self, teacher: Twin, student: Twin, what: Compared, feeds: Sequence[Any], most: int) -> None:
        """Look at both networks once, where they are trained: anchors for `seed`, attention for `minilm`."""
        if "seed" in self.chosen and what.last is not None:
            with torch.no_grad():
                made = [teacher(group, (what.last,))[what.last] for _, group in groups(feeds[:ANCHORS], most)]
            self.anchors = torch.cat([embedding(features) for features in made])
        if "minilm" in self.chosen:
            pair = (last_attention(teacher), last_attention(student))
            if pair[0] is not None and pair[1] is not None:
                self.attention = pair
                self.names = (tuple(pair[0]), tuple(pair[1]))
        if self.scales is not None:
            self.scales = torch.nn.Parameter(self.scales.detach().to(student.device))

    def learn(self, scene: Scene, *, share: float, parameters: Mapping[str, Any]) -> float:
        """Add the gradients of a group, which is `share` of its batch. Returns its part of the loss."""
        base = mimic(scene)
        beside = {name: loss for name in self.chosen if (loss := OBJECTIVES[name][1](scene)) is not None}
        self.silent -= beside.keys()
        if self.scales is None:
            total = base + sum(OBJECTIVES[name][0] * loss for name, loss in beside.items())
            (total * share).backward()
        else:
            total = self._weighed(base, beside, share, list(parameters.values()))
        return float(total.detach()) * share

    def _weighed(self, base: Any, beside: Mapping[str, Any], share: float, parameters: list[Any]) -> Any:
        """Learned weights, and no objective that pulls the other way."""
        towards = torch.autograd.grad(base, parameters, retain_graph=True, allow_unused=True)
        total = base
        for name, loss in beside.items():
            scale = self.scales[self.chosen.index(name)]
            pull = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            if _along(towards, pull) >= 0:
                total = total + torch.exp(-scale) * loss + scale
        (total * share).backward()
        return total

    def parameters(self) -> list[Any]:
        """What the objectives learn for themselves."""
        return [] if self.scales is None else [self.scales]

    def arrays(self) -> dict[str, Any]:
        """Those by name, for a checkpoint."""
        return {} if self.scales is None else {"scales": self.scales.detach().cpu().numpy().copy()}

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Put them back."""
        if self.scales is not None:
            with torch.no_grad():
                self.scales.copy_(torch.from_numpy(arrays["scales"]))


def _along(one: Sequence[Any], two: Sequence[Any]) -> float:
    """Inner product of two gradients."""
    pairs = [(a, b) for a, b in zip(one, two, strict=True) if a is not None and b is not None]
    return float(sum((a * b).sum() for a, b in pairs))
