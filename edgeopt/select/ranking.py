"""Which of the allowed candidates comes first, which of them are worth knowing, and why one is behind another.

Measured quantities closer than EPSILON are a tie: no user feels the difference, and no measurement of this length tells it for sure. File sizes are exact.
Ties go to the leaner, then to the simpler. For memory and size a tie is mostly the same file with other threads, so there the faster comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from edgeopt.domain.goal import Goal, Objective
from edgeopt.domain.pick import Summary
from edgeopt.select.blocks import ORIGINAL
from edgeopt.select.wording import interval, megabytes, ms, number, percent

EPSILON = 0.02
AGREEMENT_EPSILON = 0.001
"""Agreements that differ by less than one answer in a thousand are alike."""

Key = Callable[[Summary], float]


def latency(s: Summary) -> float:
    """Return p50 in ms, infinite when it is not known."""
    return math.inf if s.p50_ms is None else s.p50_ms


def memory(s: Summary) -> float:
    """Return peak memory in bytes, infinite when it is not known."""
    return math.inf if s.peak_memory_bytes is None else s.peak_memory_bytes


def size(s: Summary) -> float:
    """Return the size in bytes."""
    return s.size_bytes


def energy(s: Summary) -> float:
    """Return the energy of an inference in mJ, infinite when it is not known."""
    return math.inf if s.energy_mj is None else s.energy_mj


def simplicity(s: Summary) -> float:
    """Return how far an encoding is from the original: itself, fp32, fp16, all that has integers."""
    if s.variant == ORIGINAL:
        return 0
    return {"fp32": 1, "fp16": 2}.get(s.encoding, 3)


_KEYS: dict[Objective, tuple[Key, float]] = {
    "latency": (latency, EPSILON),
    "energy": (energy, EPSILON),
    "memory": (memory, EPSILON),
    "size": (size, 0.0),
}
"""For each quantity: how far apart two values are still alike."""
_TIES: dict[Objective, tuple[tuple[Key, float], ...]] = {
    "latency": ((memory, EPSILON), (simplicity, 0.0), (latency, 0.0)),
    "energy": ((memory, EPSILON), (simplicity, 0.0), (energy, 0.0)),
    "memory": ((latency, EPSILON), (simplicity, 0.0), (memory, 0.0)),
    "size": ((latency, EPSILON), (memory, EPSILON), (simplicity, 0.0)),
}
"""For each objective: what decides between those that are alike in it, in this order."""


class Weighted:
    """The product of quantities, each to the power of its share of the weights: what is small by it is small in what weighs most."""

    def __init__(self, weights: Mapping[Objective, float]) -> None:
        total = math.fsum(weights.values())
        self.shares = {name: weight / total for name, weight in sorted(weights.items())}

    def __call__(self, s: Summary) -> float:
        """Return the product, infinite when a quantity is not known."""
        values = {name: _KEYS[name][0](s) for name in self.shares}
        if any(math.isinf(value) for value in values.values()):
            return math.inf
        return math.exp(math.fsum(share * math.log(max(values[name], 1e-300)) for name, share in self.shares.items()))

    def named(self) -> str:
        """Return the quantities and their shares for people."""
        return ", ".join(f"{name} {number(share)}" for name, share in self.shares.items())


def order_of(goal: Goal) -> tuple[tuple[Key, float], ...]:
    """Return what is compared, in this order, and how far apart two values are still alike."""
    if goal.weights:
        weighted = Weighted(goal.weights)
        return ((weighted, EPSILON), (memory, EPSILON), (simplicity, 0.0), (weighted, 0.0))
    return (_KEYS[goal.objective], *(_KEYS[name] for name in goal.then), *_TIES[goal.objective])


def best_of(candidates: Sequence[Summary], goal: Goal) -> Summary:
    """Return the first by the objective and its tie-breaks; candidates that are alike in all of them go by name. At least one is given."""
    left = list(candidates)
    for key, epsilon in order_of(goal):
        left = _alike(left, key, epsilon)
    return min(left, key=lambda s: s.candidate)


def _alike(candidates: Sequence[Summary], key: Key, epsilon: float) -> list[Summary]:
    least = min(key(s) for s in candidates)
    return [s for s in candidates if key(s) <= least * (1 + epsilon)]


def frontier(candidates: Sequence[Summary], goal: Goal) -> tuple[str, ...]:
    """Return the candidates worth knowing: every other one is matched by one of them in everything that counts, within EPSILON.

    What counts is latency, memory, size, energy where it was measured, and agreement.

    Ranked from the best; a candidate enters unless one before it covers it. Unlike plain dominance with a tolerance, which can go round in a circle, this
    always keeps the first.
    """
    left, kept = list(candidates), []
    while left:
        first = best_of(left, goal)
        kept.append(first)
        left = [s for s in left if s is not first and not _covers(first, s)]
    return tuple(s.candidate for s in kept)


def _covers(one: Summary, other: Summary) -> bool:
    alike = all(key(one) <= key(other) * (1 + EPSILON) for key in (latency, memory, size, energy))
    return alike and _agreement(one) >= _agreement(other) - AGREEMENT_EPSILON


def _agreement(s: Summary) -> float:
    return 1.0 if s.variant == ORIGINAL else -1.0 if s.agreement is None else s.agreement


def behind(s: Summary, best: Summary, candidates: Sequence[Summary], goal: Goal) -> str:
    """Return why `s`, which was allowed too, is not the pick: the comparison of `best_of` in which it fell out."""
    left, tie = list(candidates), ""
    for key, epsilon in order_of(goal):
        left = _alike(left, key, epsilon)
        if s not in left:
            return f"{tie}{_against(key, s, best)} of {best.candidate}"
        tie = f"is a tie within {EPSILON:.0%}, but "
    return f"is alike to {best.candidate} in everything that counts, which comes first by name"


def _against(key: Key, s: Summary, best: Summary) -> str:
    if key is simplicity:
        return f"its encoding ({s.encoding}) is less simple than the one ({best.encoding})"
    mine, theirs = key(s), key(best)
    more = "" if math.isinf(mine) or theirs == 0 else f", {percent(mine / theirs - 1)} more"
    if isinstance(key, Weighted):
        return f"what it costs by the weights ({key.named()}) is{more.removeprefix(',')} than that"
    word, show = _SHOWN[key]
    return f"{word} is {show(s)}{more} than the {show(best)}"


def _show_latency(s: Summary) -> str:
    return "not known" if s.p50_ms is None else f"{ms(s.p50_ms)}{interval(s.p50_low_ms, s.p50_high_ms)}"


def _show_memory(s: Summary) -> str:
    return "not known" if s.peak_memory_bytes is None else megabytes(s.peak_memory_bytes)


def _show_energy(s: Summary) -> str:
    return "not known" if s.energy_mj is None else f"{number(s.energy_mj)} mJ"


_SHOWN: dict[Key, tuple[str, Callable[[Summary], str]]] = {
    latency: ("its p50", _show_latency),
    memory: ("its peak memory", _show_memory),
    size: ("its size", lambda s: megabytes(s.size_bytes)),
    energy: ("its energy", _show_energy),
}


def shown(s: Summary, goal: Goal) -> str:
    """Return the candidate's value of the objective, for people; each of them where there are weights."""
    names = sorted(goal.weights) or [goal.objective]
    return ", ".join(_SHOWN[_KEYS[name][0]][1](s) for name in names)
