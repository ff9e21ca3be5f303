"""Which few layers are worth leaving in float: without labels, by how much the whole network's answers gain. Child side.

Some layers are computed in float, with their answers not quantised, everything else as it was (the complement test); the outputs' signal to noise ratio tells their part of the damage.
Two kinds of sets are tried. A stem is all layers down to a depth: data is converted once, behind it. Scattered layers are taken by gain per multiplication, each between two conversions of its own; detectors'
heads, first and last layers fall out of it by themselves. On SqueezeNet scattered layers took 0.67 to 1.0 of fp32's time where a stem took 0.5 for more gain, so they must gain more to be chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.bias import layers_by_depth
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.fusion import multiply_adds
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.placement import place

Judge = Callable[[object], float]
"""A QDQ model to its signal to noise ratio in dB."""

LEAST_GAIN_DB = 0.2
"""What a layer must bring by itself: less is within what other samples would say."""


SCATTERED_DB = 1.0
"""What scattered layers must gain over a stem for their conversions."""

ENOUGH_DB = 0.5
"""A stem so near to the best is as good, and the shallower the faster."""


@dataclass(frozen=True, kw_only=True)
class FloatPart:
    """Names of the layers to leave in float, what they gain together in dB, and what they are in words."""

    layers: frozenset[str]
    gain_db: float
    words: str


def without(network: Network, names: AbstractSet[str]) -> Network:
    """The network with some layers in float; scales, codes and biases stay. Fewer tensors are int8 then, never others."""
    others = [layer for layer in network.layers if layer.name not in names]
    placement = place(network.graph, others, encoding=network.placement.encoding)
    placement.heads &= {head for head in placement.heads if len(network.scale_of(head).scale) > 1}
    return Network(
        graph=network.graph,
        layers=others,
        placement=placement,
        scales={lead: network.scale_of(lead) for lead in placement.groups()},
        codes=network.codes,
        weight_scales=network.weight_scales,
    )


def worth_float(network: Network, screen: Judge, judge: Judge, share: float) -> FloatPart | None:
    """The layers to leave in float; None where none would help.

    Args:
        network: complete.
        screen: of the answers to a few samples: every layer is tried by it.
        judge: of the answers to many: what is left in float is decided by it.
        share: of all multiplications, the most that may be float.
    """
    costs, gain_of = _costs(network), _gains(network, judge)
    stem = _best_stem(network, gain_of, costs, share)
    scattered = _best_scattered(network, _gains(network, screen), gain_of, costs, share)
    if scattered is not None and (stem is None or scattered.gain_db > stem.gain_db + SCATTERED_DB):
        return scattered
    return stem


def _gains(network: Network, judge: Judge) -> Callable[[AbstractSet[str]], float]:
    """What the answers gain when some layers are in float, in dB."""
    base = judge(emit(network))
    return lambda names: judge(emit(without(network, names))) - base


def _best_stem(
    network: Network, gain_of: Callable[[AbstractSet[str]], float], costs: dict[str, float], share: float
) -> FloatPart | None:
    parts: list[FloatPart] = []
    names: frozenset[str] = frozenset()
    for depth, level in enumerate(layers_by_depth(network.graph, network.layers), 1):
        names |= {layer.name for layer in level}
        if sum(costs[name] for name in names) > share or len(names) == len(network.layers):
            break
        tell("float stems", depth)
        parts.append(FloatPart(layers=names, gain_db=gain_of(names), words=f"a stem {depth} layers deep"))
    best = max((part.gain_db for part in parts), default=0.0)
    if best < LEAST_GAIN_DB:
        return None
    return next(part for part in parts if part.gain_db >= best - min(ENOUGH_DB, best / 2))


def _best_scattered(
    network: Network,
    screened: Callable[[AbstractSet[str]], float],
    gain_of: Callable[[AbstractSet[str]], float],
    costs: dict[str, float],
    share: float,
) -> FloatPart | None:
    gains = {}
    for number, layer in enumerate(network.layers):
        tell("layers in float", number, len(network.layers))
        gains[layer.name] = screened({layer.name})
    chosen: list[str] = []
    left = share
    for name in sorted(gains, key=lambda each: -gains[each] / max(costs[each], 1e-4)):
        if gains[name] >= LEAST_GAIN_DB and costs[name] <= left and len(chosen) + 1 < len(network.layers):
            chosen.append(name)
            left -= costs[name]
    if not chosen:
        return None
    kept, gain = _given_back(frozenset(chosen), gain_of, gains)
    words = ", ".join(f"{name} (+{gains[name]:.1f} dB)" for name in chosen if name in kept)
    return FloatPart(layers=kept, gain_db=gain, words=words)


def _given_back(
    chosen: frozenset[str], gain_of: Callable[[AbstractSet[str]], float], gains: dict[str, float]
) -> tuple[frozenset[str], float]:
    """The reverse pass: alone each was worth it, beside the others one may not be any more. Returns the layers that are, and what they gain together."""
    kept, gain = chosen, gain_of(chosen)
    for name in sorted(chosen, key=lambda each: gains[each]):
        rest = kept - {name}
        without_it = gain_of(rest) if rest else -math.inf
        if without_it > gain - LEAST_GAIN_DB:
            kept, gain = rest, without_it
    return kept, gain


def _costs(network: Network) -> dict[str, float]:
    """Share of the network's multiplications; where a size is not known, its share of the weights."""
    sizes = multiply_adds(network.graph.model)
    counts = {layer.name: _count(layer, sizes) for layer in network.layers}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _count(layer: Layer, sizes: dict[str, int]) -> int:
    return sizes.get(layer.product) or int(layer.weight.size)
