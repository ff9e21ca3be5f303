"""A network that is being made smaller: what is gone so far, and the weights that make up for it. Child side."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt.compiler.prune.classes import Axis
from edgeopt.compiler.prune.cost import CostModel
from edgeopt.compiler.prune.shrink import kept, shrink
from edgeopt.compiler.prune.trace import Channels
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer, find_layers, normalise
from edgeopt.compiler.quantize.observe import Feed, run_taps

MOST_UNITS = 16
"""A group goes in so many parts, or fewer: wide layers lose several blocks at a time."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Classes that the same layers make. `unit` of them go at a time, and `least` stay."""

    name: str
    classes: tuple[int, ...]
    unit: int
    least: int


@dataclass(kw_only=True)
class Network:
    """The whole graph with its layers by name (weights at full size), and the classes that are gone."""

    graph: Graph
    channels: Channels
    layers: dict[str, Layer]
    removed: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(cls, model: Any, feed: Feed | None = None) -> Network:
        """Of a tidy float32 model, which is not changed. `feed`: a sample, by whose size open axes are taken."""
        own = type(model)()
        own.CopyFrom(model)
        graph = Graph(own)
        normalise(graph, pixels=False)
        if feed is not None:
            graph.types = _types_at(graph, feed)
        layers = {layer.name: layer for layer in find_layers(graph)}
        return cls(graph=graph, channels=Channels(graph, layers.values()), layers=layers)

    def without(self, classes: Iterable[int], weights: Mapping[str, tuple[Array, Array]]) -> Network:
        """A copy in which `classes` are gone as well, and some layers have other weights and biases."""
        layers = dict(self.layers)
        for name, (weight, bias) in weights.items():
            layers[name] = copy.copy(layers[name])
            layers[name].weight, layers[name].bias = weight, bias
        return Network(
            graph=self.graph, channels=self.channels, layers=layers, removed=self.removed | frozenset(classes)
        )

    def model(self) -> Any:
        """The smaller model itself."""
        return shrink(self.channels, self.layers, self.removed)

    def axis(self, tensor: str) -> Axis | None:
        """Where the channels of a tensor lie."""
        return self.channels.axes.get(tensor)

    def gone(self, tensor: str) -> Array | None:
        """Which channels of a tensor are gone, bool [C]; None where it has none."""
        axis = self.axis(tensor)
        return None if axis is None else ~kept(axis, self.removed)

    def rows(self) -> dict[str, Array]:
        """By layer name, which of its outputs are left; bool [O]."""
        return {
            name: np.ones(layer.channels, bool) if (gone := self.gone(layer.product)) is None else ~gone
            for name, layer in self.layers.items()
        }

    def microseconds(self, costs: CostModel) -> float:
        """By the cost model."""
        axes = self.channels.axes if self.removed else {}
        widths = {name: (axis.axis, int(kept(axis, self.removed).sum())) for name, axis in axes.items()}
        return costs.microseconds(widths)


def _types_at(graph: Graph, feed: Feed) -> dict[str, Any]:
    """Types and shapes of all tensors when a sample is fed: what inference cannot say of open axes is seen."""
    import onnx

    names = [name for node in graph.graph.node for name in node.output if name]
    seen: dict[str, Array] = dict(feed)
    run_taps(graph.model, names, [feed], lambda _, tensors: seen.update(tensors), threads=1)
    types = {}
    for name, value in seen.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        types[name] = onnx.helper.make_tensor_type_proto(kind, value.shape).tensor_type
    return types


def groups_of(network: Network, *, block: int, least_share: float = 0.25) -> list[Group]:
    """Every group that something can be taken from.

    Args:
        network: the whole.
        block: how many channels at a time, at least; classes that are more than one channel (heads) count as all of theirs.
        least_share: of a group's classes stay in any case.
    """
    makers: dict[int, list[str]] = {}
    sizes: dict[int, int] = {}
    for name, layer in network.layers.items():
        axis = network.axis(layer.product)
        if axis is None or layer.group > 1:
            continue
        found, counts = np.unique(axis.classes, return_counts=True)
        for one, count in zip(found.tolist(), counts.tolist(), strict=True):
            if not network.channels.union.is_locked(one):
                makers.setdefault(one, []).append(name)
                sizes[one] = max(sizes.get(one, 0), count)
    together: dict[tuple[str, ...], list[int]] = {}
    for one in sorted(makers):
        together.setdefault(tuple(makers[one]), []).append(one)
    groups = []
    for names, classes in together.items():
        each = block // max(sizes[one] for one in classes)
        unit = max(1, each * -(-len(classes) // (each * MOST_UNITS)) if each else 1)
        least = max(unit, round(least_share * len(classes)))
        if len(classes) - unit >= least:
            groups.append(Group(name=names[0], classes=tuple(classes), unit=unit, least=least))
    return groups
