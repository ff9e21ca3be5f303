"""How near a student is to its teacher on samples that it does not learn from. No labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgeopt.compiler.running import Feed
from edgeopt.compiler.train.compared import Compared
from edgeopt.compiler.train.data import groups, size_of
from edgeopt.compiler.train.objectives.mimic import divergence, squared
from edgeopt.compiler.train.twin import Twin

LEAST_GAIN = 1e-6
"""Differences below are rounding."""


@dataclass(frozen=True)
class Score:
    """`distance` is the mean divergence of the distributions in nats, or the normalised squared error where there are none; `agreement` the share of equal classes, None without."""

    distance: float
    agreement: float | None

    def beats(self, best: Score, first: Score, *, judged: int) -> bool:
        """Nearer than the best so far, and agreeing no less than the first but for chance: with so few samples judged, agreement is too coarse to choose by."""
        agrees = self.agreement is None or first.agreement is None or self.agreement >= first.least(judged)
        return self.distance < best.distance - LEAST_GAIN and agrees

    def least(self, judged: int) -> float:
        """The agreement less its standard error over `judged` samples, as if one more that agrees and one that does not had been seen (Agresti and Coull, *The American Statistician*, 1998)."""
        agreement = self.agreement or 0.0
        share = (agreement * judged + 1) / (judged + 2)
        return agreement - math.sqrt(share * (1 - share) / judged)

    def words(self) -> str:
        """For people."""
        if self.agreement is None:
            return f"error {self.distance:.3g} of the mean square"
        return f"agreement {self.agreement:.3f}, divergence {self.distance:.3g}"


class Judge:
    """Holds the teacher's answers to the held-out samples, which are made once."""

    def __init__(self, teacher: Twin, feeds: Sequence[Feed], what: Compared, most: int) -> None:
        self.what = what
        self.names = tuple(dict.fromkeys((*(name for name, _ in what.logits), *what.values)))
        self.groups = [group for _, group in groups(feeds, most)]
        with torch.no_grad():
            self.answers = [teacher(group, self.names) for group in self.groups]

    def score(self, student: Twin) -> Score:
        """Run the student over all of them."""
        distance = agreed = count = 0.0
        with torch.no_grad():
            for group, teacher in zip(self.groups, self.answers, strict=True):
                answers, size = student(group, self.names), size_of(group)
                distance += size * float(_distance(self.what, teacher, answers))
                agreed += size * float(_agreement(self.what, teacher, answers))
                count += size
        return Score(distance / count, agreed / count if self.what.logits else None)


def _distance(what: Compared, teacher: Any, student: Any) -> Any:
    if what.logits:
        return torch.stack([divergence(teacher[name], student[name], axis) for name, axis in what.logits]).mean()
    return torch.stack([squared(teacher[name], student[name]) for name in what.values]).mean()


def _agreement(what: Compared, teacher: Any, student: Any) -> Any:
    shares = [(teacher[name].argmax(axis) == student[name].argmax(axis)).float().mean() for name, axis in what.logits]
    return torch.stack(shares).mean() if shares else torch.zeros(())
