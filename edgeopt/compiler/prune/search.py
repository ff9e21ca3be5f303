"""Which channels go: those that the network's answers miss least for the time that they take, group by group, until it is fast enough. Child side.

In each group the channels that go next are those that least squares can make up for best. Which group is next is decided by the answers themselves: the damage after compensation, on samples that nothing was fitted to,
for each microsecond saved by the cost model. Damage grows with what is gone already, so a group that was judged before need not be judged again until it comes first (lazy greedy, Minoux 1978).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeopt.compiler.progress import tell
from edgeopt.compiler.prune.cost import CostModel
from edgeopt.compiler.prune.damage import Damage, Judge
from edgeopt.compiler.prune.gram import Consumer, Statistics, columns_of
from edgeopt.compiler.prune.network import Group, Network
from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.layers import Layer

LEAST_SAVING = 1e-4
"""Of the whole: a smaller saving is none."""

FREE, LONGEST_STRIDE = 1e-4, 4
"""Damage that is none: as long as there is no more, a group loses twice as many channels the next time, at most four times as many as else."""

Accept = Callable[[Damage, float, float], None]
"""Told of every move's damage, its share of the time, and that before it; may refuse."""


@dataclass(kw_only=True)
class Found:
    """A smaller network, its share of the whole one's time by the cost model, and its damage."""

    network: Network
    share: float
    damage: Damage


@dataclass(kw_only=True)
class Search:
    """Everything that moves are made and judged with. `whole` is the time of the original in microseconds."""

    costs: CostModel
    whole: float
    statistics: Mapping[str, Statistics]
    judge: Judge
    accept: Accept
    by_magnitude: bool = False

    def run(self, network: Network, groups: list[Group], target: float) -> Found:
        """Take channels away until the cost model says `target` of the original's time, or nothing is left that may go.

        Args:
            network: nothing of it is gone yet.
            groups: what can be taken.
            target: share of the original's time.
        """
        found = self._judged(network)
        heap = [(-np.inf, number) for number in range(len(groups))]
        tried: dict[int, Found] = {}
        reached: list[Found] = []
        strides = [1] * len(groups)
        while heap and found.share > target:
            price, number = heapq.heappop(heap)
            if number in tried:
                # It was judged as things stand, and is still the cheapest.
                before, found, tried = found, tried[number], {}
                tell("pruning", round(100 * (1 - found.share)), round(100 * (1 - target)))
                self.accept(found.damage, found.share, before.share)
                if found.damage.value < FREE:
                    strides[number] = min(2 * strides[number], LONGEST_STRIDE)
                heapq.heappush(heap, (price, number))
                continue
            smaller = self._without_units(found.network, groups[number], strides[number])
            if strides[number] > 1 and (smaller is None or self.judge.damage(smaller.model()).value > FREE):
                strides[number] = 1
                smaller = self._without_units(found.network, groups[number], 1)
            if smaller is None or found.share - self._share(smaller) < LEAST_SAVING:
                continue
            made = tried[number] = self._judged(smaller)
            price = (made.damage.value - found.damage.value) / (found.share - made.share)
            heapq.heappush(heap, (price, number))
            if made.share <= target:
                reached.append(made)
        return min(reached, key=lambda each: each.damage.value, default=found)

    def _share(self, network: Network) -> float:
        return network.microseconds(self.costs) / self.whole

    def _judged(self, network: Network) -> Found:
        return Found(network=network, share=self._share(network), damage=self.judge.damage(network.model()))

    def _without_units(self, network: Network, group: Group, units: int) -> Network | None:
        """The network without the next channels of a group, made up for; None when too few would be left."""
        present = [one for one in group.classes if one not in network.removed]
        if len(present) - units * group.unit < group.least:
            return None
        consumers, columns = {}, {}
        for name, layer in readers_of(network, group).items():
            axis, consumer = network.axis(layer.source), self._consumer(network, layer)
            if axis is not None and consumer is not None:
                consumers[name], columns[name] = consumer, columns_of(axis, layer, present)
        by_size = magnitudes(network, present) if self.by_magnitude or not consumers else None
        gone = []
        for _ in range(units * group.unit):
            if by_size is not None:
                one = min(present, key=lambda each: (by_size[each], each))
            else:
                one = _cheapest(consumers, columns, present)
            for name, consumer in consumers.items():
                consumer.remove(columns[name][one])
            present.remove(one)
            gone.append(one)
        return network.without(gone, {name: consumer.compensated() for name, consumer in consumers.items()})

    def _consumer(self, network: Network, layer: Layer) -> Consumer | None:
        statistics, gone = self.statistics.get(layer.name), network.gone(layer.source)
        if statistics is None or gone is None:
            return None
        rows = network.gone(layer.product)
        each = layer.fan_in // len(gone)
        return Consumer(
            layer, statistics, np.repeat(gone, each), np.ones(layer.channels, bool) if rows is None else ~rows
        )


def readers_of(network: Network, group: Group) -> dict[str, Layer]:
    """The dense layers that read channels of a group, by name."""
    wanted = np.array(group.classes)
    found = {}
    for name, layer in network.layers.items():
        axis = network.axis(layer.source)
        if layer.group == 1 and axis is not None and np.isin(axis.classes, wanted).any():
            found[name] = layer
    return found


def magnitudes(network: Network, classes: list[int]) -> dict[int, float]:
    """Size of what makes each class: squares of its weights over all layers that make it."""
    squares = dict.fromkeys(classes, 0.0)
    for layer in network.layers.values():
        axis = network.axis(layer.product)
        if axis is None or layer.group > 1:
            continue
        norms = np.square(layer.weight.reshape(layer.channels, -1)).sum(axis=1, dtype=np.float64)
        for one, norm in zip(axis.classes.tolist(), norms.tolist(), strict=True):
            if one in squares:
                squares[one] += norm
    return squares


def _cheapest(consumers: Mapping[str, Consumer], columns: Mapping[str, Mapping[int, Array]], present: list[int]) -> int:
    """The class that least is lost with, added over all layers that read it."""
    lost = np.zeros(len(present))
    for name, consumer in consumers.items():
        sets = [columns[name][one] for one in present]
        by_size: dict[int, list[int]] = {}
        for place, each in enumerate(sets):
            if len(each):
                by_size.setdefault(len(each), []).append(place)
        for places in by_size.values():
            lost[places] += consumer.errors(np.stack([sets[place] for place in places]))
    return present[int(np.argmin(lost))]
