"""Structured pruning from end to end: one line for each stage. Child side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeopt.compiler.graph_walk import behind_control_flow
from edgeopt.compiler.progress import tell
from edgeopt.compiler.prune.blocks import Change, as_one_convolution, find_blocks, first_readers, without_block
from edgeopt.compiler.prune.budgets import Budget
from edgeopt.compiler.prune.cost import CostModel, Rates
from edgeopt.compiler.prune.damage import Damage, Judge
from edgeopt.compiler.prune.gram import observe
from edgeopt.compiler.prune.network import Network, groups_of
from edgeopt.compiler.prune.refit import refit
from edgeopt.compiler.prune.search import Search
from edgeopt.compiler.prune.wording import agreement_words, blocks_words, weights_words, widths_words
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.observe import THREADS
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds

FIRST_RUNG = 0.9
"""Share of the time at which it shows whether a network has anything to spare."""

STAGES = (0.7,)
"""Shares of the time at which everything is fitted before more goes. More stages took SqueezeNet no nearer at 0.8 (KL 0.21 to 0.22 with one, two and four)."""

NEAR = 0.85
"""Of the wish: fewer or simpler blocks that save so much are left at that, since time is not counted more exactly."""

BEYOND = 0.25
"""Of a share of time saved that nobody asked for: its power. At 1, ResNet-8 would lose a block of 0.35 of its time where 0.2 was asked, at twice the damage of a simpler block."""

HARDER = 1.2
"""Fewer channels of everything learn less well than a part that is gone or new: after 1,000 steps 0.67 of the damage is left, 0.57 otherwise (ResNet-8, two splits, divergence on pictures that nothing saw)."""

LEAST_AGREEMENT, MOST_NOISE = 0.6, 0.5
"""There: what lost more is not worth going on with. SqueezeNet and ResNet-8 keep 0.87 and more, a MobileNet of quarter width about half."""

SMALL = 1000.0
"""Microseconds: networks that take less run on one thread here, since waking a second one takes as long."""

LEAST_SAMPLES = 16
"""Fewer cannot say what a layer's answers depend on."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The smaller model and what to say of it."""

    model: Any
    notes: list[str]


def prune(  # noqa: PLR0913 - the words of the recipe
    model: Any,
    feeds: Feeds,
    *,
    latency: float,
    block: int,
    rates: Rates,
    budget: Budget,
    by_magnitude: bool = False,
    classes: bool = True,
) -> Pruned:
    """Make a tidy float32 model smaller until a count of its work says that it takes `latency` of its time.

    Args:
        model: opset 13 or later; it is not changed. Names of the tensors that are left stay.
        feeds: samples; some judge and the others are fitted to.
        latency: share of the time, 0..1.
        block: channels that go at a time: what the kernels round widths to.
        rates: what time is counted by.
        budget: how much to try.
        by_magnitude: choose channels by the size of their weights, for comparison.
        classes: whether an answer that is a vector may be class scores.

    Raises:
        Refused: nothing-to-do, nothing-to-spare, samples-missing.
    """
    if feeds.count < LEAST_SAMPLES:
        raise Refused(
            "samples-missing", f"it needs {LEAST_SAMPLES} samples or more to prune by, and there are {feeds.count}"
        )
    original = Network.of(model, next(iter(feeds)))
    workshop = _Workshop(original, feeds, budget, block, rates, classes=classes)
    found = workshop.best(latency, by_magnitude=by_magnitude)
    left = (
        blocks_words(found.blocks, gone=found.change is without_block)
        + widths_words(found.rows)
        + weights_words(found.model, original.graph.model)
    )
    notes = [
        f"by count {100 * found.share:.0f} % of the time of the whole network ({100 * latency:.0f} % was asked): {left}",
        f"{agreement_words(found.damage)} on {workshop.judging.count} samples that nothing was fitted to; fitted to {workshop.fitting.count} others",
    ]
    return Pruned(model=found.model, notes=notes)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A smaller model, fitted. `rows`: by layer name, which of the original's output channels are left (bool [O]); `change` is what was done to `blocks`."""

    model: Any
    rows: dict[str, Array]
    share: float
    damage: Damage
    change: Change | None = None
    blocks: tuple[str, ...] = ()


class _Workshop:
    """What all ways have in common: samples, the judge, costs."""

    def __init__(
        self, original: Network, feeds: Feeds, budget: Budget, block: int, rates: Rates, *, classes: bool
    ) -> None:
        self.original, self.budget, self.block, self.rates = original, budget, block, rates
        self.sample = next(iter(feeds))
        self.judging, self.fitting = divide(feeds, budget)
        self.whole = self._microseconds(original)
        quick = original.microseconds(CostModel(original.graph, original.layers, block=block)) < SMALL
        self.threads = 1 if quick else THREADS
        self.judge = Judge(original.graph.model, self.judging, threads=self.threads, classes=classes)

    def _costs(self, network: Network) -> CostModel:
        return CostModel(network.graph, network.layers, block=self.block, rates=self.rates)

    def _microseconds(self, network: Network) -> float:
        return self._costs(network).microseconds({})

    def best(self, latency: float, *, by_magnitude: bool) -> Candidate:
        """The cheapest of what comes of the whole network, and of it with fewer blocks, or with simpler ones."""
        made: list[Candidate] = []
        refusal: Refused | None = None
        for start in self._starts():
            if 1.0 - start.share >= NEAR * (1.0 - latency):
                made.append(self._fitted(start))
            if start.share > latency:
                try:
                    made.append(self._stages(start, latency, by_magnitude=by_magnitude))
                except Refused as refused:
                    refusal = refusal or refused
        if not made:
            raise refusal or Refused("nothing-to-do", "nothing in it can go")
        return min(made, key=lambda each: price(each, latency))

    def _starts(self) -> Iterator[Candidate]:
        """The whole network, then with block after block gone, then with block after block as one convolution: each time the one that is missed least for the time that it takes."""
        whole = Candidate(
            model=self.original.graph.model,
            rows=self.original.rows(),
            share=1.0,
            damage=self.judge.damage(self.original.graph.model),
        )
        yield whole
        for change in (without_block, as_one_convolution):
            start = whole
            for _ in range(self.budget.blocks):
                made = list(self._changed(start, change))
                if not made:
                    break
                start = min(made, key=lambda each: each.damage.value / (1.0 - each.share))
                yield start

    def _changed(self, start: Candidate, change: Change) -> Iterator[Candidate]:
        """It with each block changed that can be, where that saves time; what is new there is fitted, and the layers behind it."""
        blocks = find_blocks(Graph(start.model))
        products = {layer.product: layer.name for layer in self.original.layers.values()}
        for number, block in enumerate(blocks):
            tell("blocks", number, len(blocks))
            smaller = change(start.model, block)
            if smaller is None:
                continue
            network = Network.of(smaller, self.sample)
            share = self._microseconds(network) / self.whole
            if share >= start.share:
                continue
            rows = network.rows() | start.rows
            readers = first_readers(Graph(start.model), block.total, products)
            touched = {name: mask for name, mask in rows.items() if name in readers or name not in start.rows}
            some = self.fitting.first(self.judging.count)
            smaller = refit(self.original.graph, touched, smaller, some, threads=self.threads)
            yield Candidate(
                model=smaller,
                rows=rows,
                share=share,
                damage=self.judge.damage(smaller),
                change=change,
                blocks=(*start.blocks, block.name),
            )

    def _stages(self, start: Candidate, latency: float, *, by_magnitude: bool) -> Candidate:
        """Where much is to go, all layers are fitted on the way: what goes next is chosen in a network that has recovered."""
        reached = start
        for target in (*(t for t in STAGES if t > latency), latency):
            if reached.share > target:
                reached = self._stage(reached, target, by_magnitude=by_magnitude)
        return reached

    def _stage(self, start: Candidate, target: float, *, by_magnitude: bool) -> Candidate:
        network = self.original if start.share == 1.0 else Network.of(start.model, self.sample)
        groups = groups_of(network, block=self.block)
        if not groups:
            raise Refused("nothing-to-do", _NO_GROUPS.format(self.block) + behind_control_flow(start.model))
        search = Search(
            costs=self._costs(network),
            whole=self.whole,
            statistics=observe(network.graph, network.layers.values(), self.fitting, threads=self.threads),
            judge=self.judge,
            accept=_bear if by_magnitude else _refuse_the_hopeless,
            by_magnitude=by_magnitude,
        )
        found = search.run(network, groups, target)
        if not found.network.removed:
            raise Refused(
                "nothing-to-do", f"no channels that could still go save time, at {100 * found.share:.0f} % of it"
            )
        rows = {name: _composed(mask, found.network.rows().get(name)) for name, mask in start.rows.items()}
        made = replace(start, model=found.network.model(), rows=rows, share=found.share, damage=found.damage)
        return self._fitted(made)

    def _fitted(self, made: Candidate) -> Candidate:
        """All layers fitted to the original, if that helps."""
        own = type(made.model)()
        own.CopyFrom(made.model)
        fitted = refit(self.original.graph, made.rows, own, self.fitting, threads=self.threads)
        damage = self.judge.damage(fitted)
        return replace(made, model=fitted, damage=damage) if damage.value <= made.damage.value else made


def price(made: Candidate, latency: float) -> float:
    """Damage for the time that is saved. What is saved beyond the wish counts little; nor is damage what it will be once it has learned."""
    saved, wished = 1.0 - made.share, 1.0 - latency
    worth = saved if saved <= wished else wished * (saved / wished) ** BEYOND
    harder = 1.0 if all(mask.all() for mask in made.rows.values()) else HARDER
    return harder * made.damage.value / worth


def _composed(mask: Array, left: Array | None) -> Array:
    """Which of the original's channels are left when of those of `mask` only `left` are; a layer that is gone whole keeps its mask."""
    if left is None:
        return mask
    both = mask.copy()
    both[np.flatnonzero(mask)] = left
    return np.asarray(both)


_NO_GROUPS = "no {} channels can go together: all reach an output, or operators that are not known, or are too few"


def divide(feeds: Feeds, budget: Budget) -> tuple[Feeds, Feeds]:
    """(samples that judge, samples that are fitted to)."""
    count = min(budget.judged_by, feeds.count // 4)
    return feeds.first(count), feeds.without_first(count).first(budget.fitted_by)


def _bear(_damage: Damage, _share: float, _before: float) -> None:
    """For comparison everything is borne."""


def _refuse_the_hopeless(damage: Damage, share: float, before: float) -> None:
    """At the first rung, which is passed between `before` and `share`."""
    if not share <= FIRST_RUNG < before:
        return
    lost = damage.value > MOST_NOISE if damage.agreement is None else damage.agreement < LEAST_AGREEMENT
    if lost:
        raise Refused(
            "nothing-to-spare",
            f"the network has nothing to spare: with {100 * (1 - share):.0f} % less work, {agreement_words(damage)} even after least squares have made up for what went",
        )
