"""Whole layers of a stack taken away: those without which the last features can best be told from what is left. Child side.

The features of the layer that ends the stack are compared, token by token, with the original's after a scale and a shift for each channel, fitted by least squares; the set of layers with the
smallest residual goes, and scale and shift go into the normalisation that ends the stack (recoverability as in Wang and Wu, *Practical Network Acceleration with Tiny Sets*, CVPR 2023, without training).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from edgeopt.compiler.progress import tell
from edgeopt.compiler.prune.blocks import Block, without_block
from edgeopt.compiler.prune.layers import NORMALISATIONS, find_layers
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.observe import Feed, run_taps
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds

SEEN = 48
"""Samples that tell; each has many tokens."""

MOST_SETS = 64
"""Sets of layers that are all tried; of more, one layer after the other is chosen."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """The model without some layers, and what to say of it."""

    model: Any
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Scale and shift of each channel, and what they leave of the features' variance."""

    scale: Array
    shift: Array
    residual: float


def drop_layers(model: Any, feeds: Feeds, *, share: float) -> Dropped:
    """Take away `share` of the layers of a tidy float32 model's longest stack.

    Args:
        model: it is not changed.
        feeds: samples; the first few are looked at.
        share: of the layers, 0..1, rounded down.

    Raises:
        Refused: nothing-to-do: there is no stack, or nothing in it can go.
    """
    own = type(model)()
    own.CopyFrom(model)
    graph = Graph(own)
    layers = find_layers(graph)
    count = int(len(layers) * share)
    if not count:
        raise Refused("nothing-to-do", "no layers that repeat three times or more are in the graph, so none can go")
    last = layers[-1].total
    loose = [layer for layer in layers if layer.total not in graph.outputs]
    few = list(feeds.first(SEEN))
    wanted = _features(own, last, few)
    chosen, fit = _chosen(own, layers, loose, count, few, wanted)
    made = _absorbed(_without(own, chosen), _end(layers, chosen), fit)
    numbers = ", ".join(str(layers.index(layer) + 1) for layer in chosen)
    remark = (
        f"{len(chosen)} of {len(layers)} layers gone ({numbers}): of the last features {100 * fit.residual:.1f} % of the variance cannot be told from what is left, "
        f"with a scale and a shift for each channel, on {len(few)} samples"
    )
    return Dropped(model=made, notes=[remark])


def _chosen(
    model: Any, layers: Sequence[Block], loose: Sequence[Block], count: int, feeds: Sequence[Feed], wanted: Array
) -> tuple[tuple[Block, ...], _Fit]:
    """The set of layers whose loss leaves the smallest residual."""

    def tried(sets: Iterable[tuple[Block, ...]], total: int) -> tuple[tuple[Block, ...], _Fit]:
        found = []
        for number, each in enumerate(sets):
            tell("choosing layers", number, total)
            left = _features(_without(model, each), _end(layers, each), feeds)
            found.append((each, fitted(left, wanted)))
        return min(found, key=lambda pair: pair[1].residual)

    sets = comb(len(loose), count)
    if sets <= MOST_SETS:
        return tried(combinations(loose, count), sets)
    chosen: tuple[Block, ...] = ()
    for _ in range(count):
        more = [tuple(sorted((*chosen, each), key=layers.index)) for each in loose if each not in chosen]
        chosen, fit = tried(more, len(more))
    return chosen, fit


def _without(model: Any, layers: Sequence[Block]) -> Any:
    """From the last to the first, so that every layer's beginning is still there when it goes."""
    for layer in reversed(layers):
        model = without_block(model, layer)
    return model


def _end(layers: Sequence[Block], gone: Sequence[Block]) -> str:
    """The tensor that ends the stack without some of its layers."""
    return next((layer.total for layer in reversed(layers) if layer not in gone), layers[0].source)


def _features(model: Any, name: str, feeds: Iterable[Feed]) -> Array:
    """A tensor's values over samples, float64 [tokens, channels]."""
    rows: list[Array] = []
    run_taps(model, [name], feeds, lambda _number, seen: rows.append(seen[name].reshape(-1, seen[name].shape[-1])))
    return np.concatenate(rows).astype(np.float64)


def fitted(left: Array, wanted: Array) -> _Fit:
    """Least squares for each channel: wanted ~ scale * left + shift. Both [tokens, channels]."""
    mean, target = left.mean(0), wanted.mean(0)
    spread = ((left - mean) ** 2).mean(0)
    together = ((left - mean) * (wanted - target)).mean(0)
    scale = together / np.maximum(spread, 1e-12)
    shift = target - scale * mean
    gap = ((wanted - scale * left - shift) ** 2).mean()
    return _Fit(scale=scale, shift=shift, residual=float(gap / max(float(((wanted - target) ** 2).mean()), 1e-12)))


def _absorbed(model: Any, end: str, fit: _Fit) -> Any:
    """Scale and shift in the normalisation that ends the stack; the model as it is where none does."""
    graph = Graph(model)
    node = graph.producer[end]
    values = [graph.constant(name) for name in node.input[1:3]]
    if node.op_type not in NORMALISATIONS or len(values) < 2 or any(value is None for value in values):
        return model
    scale, shift = (np.asarray(value, np.float64) for value in values)
    node.input[1] = graph.add_constant(f"{end}_scale", np.asarray(scale * fit.scale, np.float32))
    node.input[2] = graph.add_constant(f"{end}_shift", np.asarray(shift * fit.scale + fit.shift, np.float32))
    graph.index()
    graph.prune()
    return model
