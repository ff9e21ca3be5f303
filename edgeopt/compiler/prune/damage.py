"""How far a smaller network is from the original: KL of the class scores, or noise over signal where there are no classes. Child side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.observe import float_session
from edgeopt.compiler.running import Feeds
from edgeopt.compiler.score.probabilities import Kind, compare_positions, kind_of


@dataclass(kw_only=True, frozen=True)
class Damage:
    """`value` is 0 for the original: mean KL in nats (Kullback and Leibler 1951), or noise over signal. `agreement`: share of samples with the same first class, None without classes."""

    value: float
    agreement: float | None


class Judge:
    """Compares networks with the original on the same samples. The original's answers are computed once."""

    def __init__(self, original: Any, feeds: Feeds, *, threads: int = 1, classes: bool = True) -> None:
        """Take the float network that is to be imitated. `classes`: whether a vector may be class scores, which of an embedding it is not."""
        self.feeds, self.threads = feeds, threads
        self.truth = self._answers(original)
        self.kind: Kind | None = self._classes() if classes else None

    def _classes(self) -> Kind | None:
        """What the scores are where the only float output is a vector of classes [1, C]; None where it is not."""
        rows = [_vector(row) for row in self.truth]
        if not rows or any(row is None for row in rows):
            return None
        kind = kind_of([row for row in rows if row is not None])
        return None if kind == "independent" else kind

    def damage(self, model: Any) -> Damage:
        """Run it on every sample."""
        got = self._answers(model)
        if self.kind is None:
            return Damage(value=_noise(self.truth, got), agreement=None)
        kl, same = [], []
        for expected, answered in zip(self.truth, got, strict=True):
            r, y = _vector(expected), _vector(answered)
            if r is None or y is None:
                return Damage(value=float("inf"), agreement=0.0)
            found = compare_positions(r, y, self.kind)
            same.append(float(found.same.mean()))
            kl.append(float("inf") if found.kl is None else float(found.kl.mean()))
        return Damage(value=float(np.mean(kl)), agreement=float(np.mean(same)))

    def _answers(self, model: Any) -> list[list[Array]]:
        session = float_session(model, threads=self.threads)
        return [list(session.run(None, feed)) for feed in self.feeds]


def _vector(row: Sequence[Array]) -> Array | None:
    """Class scores [1, C] of the only output, shaped [1, C] or [1, C, 1, 1]; None for anything else."""
    if len(row) != 1 or row[0].dtype.kind != "f":
        return None
    values = row[0]
    if values.ndim < 2 or values.shape[1] < 2 or values.size != values.shape[0] * values.shape[1]:
        return None
    return np.asarray(values.reshape(values.shape[:2]))


def _noise(truth: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]]) -> float:
    """Squared error over variance, mean over float outputs; each output is taken around its own mean over the samples."""
    shares = []
    for place in range(len(truth[0]) if truth else 0):
        expected = [row[place].astype(np.float64) for row in truth]
        if expected[0].dtype.kind != "f" or any(r.shape != y[place].shape for r, y in zip(expected, got, strict=True)):
            continue
        error = sum(float(np.square(r - y[place]).sum()) for r, y in zip(expected, got, strict=True))
        mean = sum(float(r.sum()) for r in expected) / max(1, sum(r.size for r in expected))
        signal = sum(float(np.square(r - mean).sum()) for r in expected)
        shares.append(error / signal if signal else (0.0 if error == 0.0 else float("inf")))
    return float(np.mean(shares)) if shares else 0.0
