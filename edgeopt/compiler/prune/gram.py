"""Second moments of what layers read, and what least squares makes of them: which channels others can stand for, and the weights that do. Child side.

For a layer y = W x + b whose inputs S are to go, the best that the inputs K left can do is W' = W C_K,: (C_KK)^-1 with C the covariance of x; the bias takes the difference in means. By the inverse H of C this is
W' = W - W_S (H_SS)^-1 H_S,: at an error of tr(W_S (H_SS)^-1 W_S^T): the optimal brain surgeon (Hassibi and Stork, NIPS 1992), here for all columns of a channel at once as in Frantar and Alistarh, Optimal
Brain Compression, NeurIPS 2022. Only the inputs' moments are needed, no labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeopt.compiler.prune.classes import Axis
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.observe import run_taps
from edgeopt.compiler.quantize.patches import Moments, Sampler
from edgeopt.compiler.running import Feeds

RIDGE = 1e-3
"""Of the mean variance: columns that the samples hardly move would be given any weight."""

LARGEST = 4608
"""Columns beyond which the matrices take too long: such layers are not compensated for."""


WIDE = 2304
"""Columns beyond which matrices are held in float32: three of them are in memory for each layer."""


@dataclass(kw_only=True)
class Statistics:
    """Of one layer's inputs: covariance [K, K] and mean [K] of its columns."""

    covariance: Array
    mean: Array
    _inverse: Array | None = None
    _without: tuple[bytes, Array] | None = None

    @classmethod
    def of(cls, moments: Moments) -> Statistics:
        """From what was summed up."""
        products = moments.products
        if products is None or moments.sum is None:
            raise ValueError("no sample was seen")
        mean = moments.sum[0] / moments.count
        covariance = products[0] / moments.count - np.outer(mean, mean)
        return cls(covariance=covariance.astype(np.float64 if len(mean) <= WIDE else np.float32), mean=mean)

    def ridged(self) -> Array:
        """With RIDGE on the diagonal."""
        ridge = RIDGE * float(np.trace(self.covariance)) / len(self.mean)
        return np.asarray(self.covariance + (ridge + 1e-12) * np.eye(len(self.mean)))

    def inverse_without(self, gone: Array) -> Array:
        """Inverse of what is ridged without some columns (bool [K]), zero where they were. Not to be changed: that of the whole, and the last one, are kept, since most are asked for again."""
        if self._inverse is None:
            self._inverse = np.linalg.inv(self.ridged()).astype(self.covariance.dtype)
        if not gone.any():
            return self._inverse
        if self._without is None or self._without[0] != gone.tobytes():
            columns = np.flatnonzero(gone)
            held = self._inverse[columns]
            inverse = self._inverse - held.T @ np.linalg.solve(held[:, columns], held)
            inverse[columns] = 0.0
            inverse[:, columns] = 0.0
            self._without = gone.tobytes(), inverse
        return self._without[1]


def observe(graph: Graph, layers: Iterable[Layer], feeds: Feeds, *, threads: int = 1) -> dict[str, Statistics]:
    """One pass over the samples; by layer name, for dense layers that are not too wide."""
    wanted = {layer.name: layer for layer in layers if layer.group == 1 and layer.fan_in <= LARGEST}
    samplers = {name: Sampler(graph, layer, number) for number, (name, layer) in enumerate(wanted.items())}
    seen = {name: layer for name, layer in wanted.items() if samplers[name].has_patches}
    moments = {name: Moments() for name in seen}
    names = sorted({name for layer in seen.values() for name in (layer.source, layer.product)})

    def visit(_: int, tensors: dict[str, Array]) -> None:
        for name, layer in seen.items():
            moments[name].add(samplers[name].patches(tensors[layer.source], tensors[layer.product].shape))

    run_taps(graph.model, names, feeds, visit, doing="what layers read", threads=threads)
    return {name: Statistics.of(found) for name, found in moments.items()}


class Consumer:
    """A layer that reads channels, while some of them go. `weight` [O, K] is what stands for the original's.

    Of the inverse [K, K] only a few rows and blocks are asked for, so what each removal takes from it is kept as a product, and never done (as Frantar et al., *GPTQ*, 2022, do within a block).
    """

    def __init__(self, layer: Layer, statistics: Statistics, gone: Array, rows: Array) -> None:
        """Take the layer's weights as they are, `gone` columns (bool [K]) among them zero; `rows` (bool [O]) are the outputs that count."""
        self.layer, self.statistics = layer, statistics
        self.weight = layer.weight.reshape(layer.channels, -1).astype(statistics.covariance.dtype)
        self.rows = rows
        self.energy = self._energy()
        self._start = self.weight.copy()
        self._inverse = statistics.inverse_without(gone)
        self._left = np.ones(len(gone), bool)
        self._held = self._factor = self._inverse[:0]  # what was removed: held.T @ factor, [R, K] each

    def _energy(self) -> float:
        weight = self.weight[self.rows]
        return float(np.einsum("ok,kl,ol->", weight, self.statistics.covariance, weight, optimize=True)) or 1.0

    def errors(self, columns: Array) -> Array:
        """What each set of columns [n, k] would cost if it went now, as a share of the answers' energy; [n]."""
        blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
        if len(self._held):
            held, factor = (each[:, columns].swapaxes(0, 1) for each in (self._held, self._factor))  # [n, R, k]
            blocks = blocks - held.swapaxes(1, 2) @ factor
        weight = self.weight[self.rows][:, columns].swapaxes(0, 1)  # [n, O, k]
        solved = np.linalg.solve(blocks, weight.swapaxes(1, 2))  # [n, k, O]
        return np.asarray(np.einsum("nok,nko->n", weight, solved) / self.energy)

    def remove(self, columns: Array) -> None:
        """Let columns [k] go; the others take over what they can."""
        held = self._inverse[columns] - self._held[:, columns].T @ self._factor
        held[:, ~self._left] = 0.0
        factor = np.linalg.solve(held[:, columns], held)  # [k, K]
        self.weight -= self.weight[:, columns] @ factor
        self.weight[:, columns] = 0.0
        self._left[columns] = False
        self._held, self._factor = np.concatenate([self._held, held]), np.concatenate([self._factor, factor])

    def compensated(self) -> tuple[Array, Array]:
        """(weight, bias) of the layer as they are now, in the layer's own shape; the mean answers stay what they were."""
        shift = (self._start - self.weight) @ self.statistics.mean
        weight = self.weight.reshape(self.layer.weight.shape).astype(np.float32)
        return weight, (self.layer.bias + shift).astype(np.float32)


def columns_of(axis: Axis, layer: Layer, classes: Iterable[int]) -> Mapping[int, Array]:
    """For each class, the columns of a layer's weights [O, K] that read it; int64 [k], empty where none does."""
    each = layer.fan_in // len(axis.classes)
    return {one: (np.flatnonzero(axis.classes == one)[:, None] * each + np.arange(each)).reshape(-1) for one in classes}
