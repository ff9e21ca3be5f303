"""Which few layers are worth leaving in float: without labels, by how much the whole network's answers gain. Child side.

Some layers are computed in float, with their answers not quantised, everything else as it was (the complement test); the outputs' signal to noise ratio tells their part of the damage.
Two kinds of sets are tried. A stem is all layers down to a depth: data is converted once, behind it. Of stems that gain alike the cheapest is taken, counted in multiplications: those of its layers, and
what converting its answers takes, which is most of the difference where a layer deeper has an eighth of the values (SqueezeNet: three layers deep 0.51 of fp32's time, four deep 0.48, for more gain).
Scattered layers are taken by gain per multiplication, each between two conversions of its own; detectors' heads, first and last layers fall out of it by themselves. On SqueezeNet scattered layers took
0.67 to 1.0 of fp32's time where a stem took 0.5 for more gain, so they must gain more to be chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.bias import layers_by_depth
from edgeopt.compiler.quantize.budgets import WORK_OF_AN_ELEMENT
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.fusion import multiply_adds
from edgeopt.compiler.quantize.placement import place

Judge = Callable[[object], float]
"""A QDQ model to its signal to noise ratio in dB."""

LEAST_GAIN_DB = 0.2
"""What a layer, or a stem, must bring by itself: less is within what other samples would say."""

SCATTERED_DB = 1.0
"""What scattered layers must gain over a stem for their conversions."""

ENOUGH_DB = 0.75
"""What a stem must gain over a cheaper one. Less says little: what 128 samples said of stems of the MobileNet and SqueezeNet was 0.7 dB from what 200 others did, on the average, and 1.4 at most."""


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
    counts, gain_of = _counts(network), _gains(network, judge)
    stems = _stems(network, gain_of, counts, share)
    scattered = _best_scattered(network, _gains(network, screen), gain_of, counts, share)
    best = max((stem.gain_db for stem in stems), default=0.0)
    helps = best >= LEAST_GAIN_DB
    if scattered is not None and scattered.gain_db >= (best + SCATTERED_DB if helps else LEAST_GAIN_DB):
        return scattered
    return _cheapest(network, stems, counts) if helps else None


def _cheapest(network: Network, stems: list[FloatPart], counts: dict[str, int]) -> FloatPart:
    """Of the stems that gain nearly as much as the best."""
    gains = non_decreasing([stem.gain_db for stem in stems])
    least = max(gains[-1] - ENOUGH_DB, min(LEAST_GAIN_DB, gains[-1]))
    enough = [stem for stem, gain in zip(stems, gains, strict=True) if gain >= least]
    return min(enough, key=lambda stem: _of(stem.layers, counts) + conversions(without(network, stem.layers)))


def non_decreasing(values: Sequence[float]) -> list[float]:
    """The nearest values, in least squares, of which none is under one before it: runs that fall become their mean.

    More layers in float do not harm but by chance, so this is what chance leaves of the gains of ever deeper stems. Pool adjacent violators: Ayer et al., *An Empirical Distribution
    Function for Sampling with Incomplete Information*, Annals of Mathematical Statistics 26, 1955.
    """
    runs: list[list[float]] = []
    for value in values:
        runs.append([value])
        while len(runs) > 1 and fmean(runs[-2]) > fmean(runs[-1]):
            runs[-2:] = [runs[-2] + runs[-1]]
    return [fmean(run) for run in runs for _ in run]


def _gains(network: Network, judge: Judge) -> Callable[[AbstractSet[str]], float]:
    """What the answers gain when some layers are in float, in dB."""
    base = judge(emit(network))
    return lambda names: judge(emit(without(network, names))) - base


def _stems(
    network: Network, gain_of: Callable[[AbstractSet[str]], float], counts: dict[str, int], share: float
) -> list[FloatPart]:
    """All within the share of multiplications, from the shallowest on."""
    parts: list[FloatPart] = []
    names: frozenset[str] = frozenset()
    for depth, level in enumerate(layers_by_depth(network.graph, network.layers), 1):
        names |= {layer.name for layer in level}
        if _of(names, counts) > share * sum(counts.values()) or len(names) == len(network.layers):
            break
        tell("float stems", depth)
        parts.append(FloatPart(layers=names, gain_db=gain_of(names), words=f"a stem {depth} layers deep"))
    return parts


def conversions(network: Network) -> int:
    """What it takes to bring values into int8, in multiplications for one sample: every tensor that is int8 and not made so. Those of unknown size are left out."""
    graph, placement = network.graph, network.placement
    made = {name for node in graph.graph.node if node.output[0] in placement.nodes for name in node.output}
    made |= {activation.out for linear, activation in placement.activations.items() if linear in made}
    values = (graph.shape(name) or () for name in placement.tensors - made)
    return WORK_OF_AN_ELEMENT * sum(math.prod(axis or 0 for axis in shape[1:]) for shape in values if shape)


def _best_scattered(
    network: Network,
    screened: Callable[[AbstractSet[str]], float],
    gain_of: Callable[[AbstractSet[str]], float],
    counts: dict[str, int],
    share: float,
) -> FloatPart | None:
    costs = {name: count / sum(counts.values()) for name, count in counts.items()}
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


def _counts(network: Network) -> dict[str, int]:
    """Multiplications of each layer for one sample; where a size is not known, as many as it has weights."""
    sizes = multiply_adds(network.graph.model)
    return {layer.name: sizes.get(layer.product) or int(layer.weight.size) for layer in network.layers}


def _of(names: AbstractSet[str], counts: dict[str, int]) -> int:
    return sum(counts[name] for name in names)
