"""Which few layers are worth leaving in float: without labels, by how much the whole network's answers gain. Child side.

Each layer in turn is computed in float, with its answers not quantised, everything else as it was (the complement test); the outputs' signal to noise ratio tells its part of the damage.
Layers are taken by gain per multiplication until their share of the network's multiplications is used up. Detectors' heads, first and last layers fall out of it by themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.fusion import multiply_adds
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.placement import place

Judge = Callable[[object], float]
"""A QDQ model to its signal to noise ratio in dB."""

LEAST_GAIN_DB = 0.2
"""What a layer must bring by itself: less is within what other samples would say."""


def without(network: Network, name: str) -> Network:
    """The network with one layer in float; scales, codes and biases stay. Fewer tensors are int8 then, never others."""
    others = [layer for layer in network.layers if layer.name != name]
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


def worth_float(network: Network, judge: Judge, share: float) -> dict[str, float]:
    """Layers to leave in float, and what each alone gains in dB.

    Args:
        network: complete.
        judge: of the answers.
        share: of all multiplications, the most that may be float.
    """
    base = judge(emit(network))
    gains = {}
    for number, layer in enumerate(network.layers):
        tell("layers in float", number, len(network.layers))
        gains[layer.name] = judge(emit(without(network, layer.name))) - base
    costs = _costs(network)
    chosen: dict[str, float] = {}
    left = share
    for layer in sorted(network.layers, key=lambda each: -gains[each.name] / max(costs[each.name], 1e-4)):
        if gains[layer.name] >= LEAST_GAIN_DB and costs[layer.name] <= left:
            chosen[layer.name] = gains[layer.name]
            left -= costs[layer.name]
    return chosen


def _costs(network: Network) -> dict[str, float]:
    """Share of the network's multiplications; where a size is not known, its share of the weights."""
    sizes = multiply_adds(network.graph.model)
    counts = {layer.name: _count(layer, sizes) for layer in network.layers}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _count(layer: Layer, sizes: dict[str, int]) -> int:
    return sizes.get(layer.product) or int(layer.weight.size)
