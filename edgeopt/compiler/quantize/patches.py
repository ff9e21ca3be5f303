"""What a layer sees: input patches at a few positions, and the second moments of it all. Child side."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array, Graph, attribute
from edgeopt.compiler.quantize.layers import Layer

POSITIONS = 64
"""Positions of a sample that are looked at; neighbours tell nearly the same."""

LARGEST_FAN_IN = 2304
"""Beyond this the matrix of second moments costs more than rounding gains."""


class Sampler:
    """Looks at the same random positions of a layer's answer in every pass, so that two passes can be compared."""

    def __init__(self, graph: Graph, layer: Layer, seed: int) -> None:
        node = graph.producer[layer.product]
        self.layer, self.seed = layer, seed
        spatial = layer.weight.ndim - 2 if layer.kind == "Conv" else 0
        self.strides = list(attribute(node, "strides", [1] * spatial))
        self.dilations = list(attribute(node, "dilations", [1] * spatial))
        self.pads = list(attribute(node, "pads", [0] * 2 * spatial))
        self.has_patches = layer.kind != "Conv" or attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        self._positions: dict[tuple[int, ...], Array] = {}

    def positions(self, shape: tuple[int, ...]) -> Array:
        """Flat indices into the spatial axes of an answer of `shape` [N, O, ...]."""
        if shape not in self._positions:
            total = int(np.prod(shape[2:], dtype=np.int64))
            chooser = np.random.default_rng(self.seed)
            chosen = (
                np.arange(total) if total <= POSITIONS else np.sort(chooser.choice(total, POSITIONS, replace=False))
            )
            self._positions[shape] = chosen
        return self._positions[shape]

    def look(self, answer: Array) -> Array:
        """The answer at the positions, [O, N * P]."""
        if self.layer.kind == "MatMul":
            return np.asarray(self._rows(answer).T)
        flat = answer.reshape(*answer.shape[:2], -1)[:, :, self.positions(answer.shape)]
        return np.asarray(flat.swapaxes(0, 1).reshape(answer.shape[1], -1))

    def _rows(self, values: Array) -> Array:
        """Rows of a matrix product: all of a Gemm's, some of a MatMul's."""
        rows = values.reshape(-1, values.shape[-1])
        return rows if self.layer.kind == "Gemm" else rows[self.positions((1, 1, len(rows)))]

    def patches(self, source: Array, answer_shape: tuple[int, ...]) -> Array:
        """Inputs at the positions, [groups, I / groups * kernel, N * P]."""
        if self.layer.kind != "Conv":
            return np.asarray(self._rows(source).T[None])
        kernel = self.layer.weight.shape[2:]
        half = len(self.pads) // 2
        padded = np.pad(source, [(0, 0), (0, 0), *zip(self.pads[:half], self.pads[half:], strict=True)])
        where = np.unravel_index(self.positions(answer_shape), answer_shape[2:])
        index = []
        for axis, at in enumerate(where):
            steps = np.arange(kernel[axis])[:, None] * self.dilations[axis] + at[None] * self.strides[axis]
            index.append(steps.reshape(*[1] * axis, kernel[axis], *[1] * (len(kernel) - axis - 1), -1))
        everything: list[Any] = [slice(None), slice(None)]
        taken = padded[tuple(everything + index)]  # [N, I, kernel..., P]
        moved = np.moveaxis(taken, 0, -2)  # [I, kernel..., N, P]
        return np.asarray(moved.reshape(self.layer.group, self.layer.fan_in, -1))


WIDE, TOGETHER = 1024, 1024
"""Values of a column from which columns are gathered, and how many of them at least."""


class Moments:
    """Mean and covariance of what a layer sees, group by group.

    Sums of wide layers are tens of megabytes, and a sample gives late layers few columns: these are gathered, so that the sum is written once for many of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sum: Array | None = None
        self._products: Array | None = None
        self._waiting: list[Array] = []

    def add(self, patches: Array) -> None:
        """Take patches [groups, K, M]; they are kept for a while."""
        self.count += patches.shape[2]
        total = patches.sum(axis=2, dtype=np.float64)
        self.sum = total if self.sum is None else self.sum + total
        self._waiting.append(patches)
        if patches.shape[1] < WIDE or sum(each.shape[2] for each in self._waiting) >= TOGETHER:
            self._multiply()

    def _multiply(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        patches = waiting[0] if len(waiting) == 1 else np.concatenate(waiting, axis=2)
        products = np.matmul(patches, patches.swapaxes(1, 2))
        if self._products is None:
            self._products = products.astype(np.float64 if products.size < 1 << 22 else np.float32)
        else:
            self._products += products

    @property
    def products(self) -> Array | None:
        """The sum of products [groups, K, K]; None when nothing was seen."""
        self._multiply()
        return self._products

    def covariance(self) -> Array | None:
        """[groups, K, K]; None when nothing was seen."""
        products = self.products
        if products is None or self.sum is None:
            return None
        mean = self.sum / self.count
        return np.asarray(products / self.count - mean[:, :, None] * mean[:, None, :], np.float32)


def can_round(layer: Layer, sampler: Sampler) -> bool:
    """Whether second moments are affordable and patches can be had."""
    return sampler.has_patches and layer.fan_in <= LARGEST_FAN_IN


def samplers(graph: Graph, layers: list[Layer]) -> dict[str, Sampler]:
    """One for each layer, by name."""
    return {layer.name: Sampler(graph, layer, number) for number, layer in enumerate(layers)}
