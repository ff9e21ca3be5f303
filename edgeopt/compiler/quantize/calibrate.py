"""From a float graph and samples to a complete int8 network: one line for each stage. Child side."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.bias import correct_biases, layer_levels
from edgeopt.compiler.quantize.emit import Network, Scale, nearest_codes, weight_scales
from edgeopt.compiler.quantize.encoding import U8S8, Encoding
from edgeopt.compiler.quantize.equalise import equalise
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.heads import answer_in_float
from edgeopt.compiler.quantize.layers import Layer, find_layers, normalise, write_back
from edgeopt.compiler.quantize.observe import ChannelRanges, run_taps
from edgeopt.compiler.quantize.patches import Moments, Sampler, can_round, samplers
from edgeopt.compiler.quantize.placement import Placement, far_joins, place
from edgeopt.compiler.quantize.ranges import Histograms, cheapest, widest
from edgeopt.compiler.quantize.rounding import rounded_codes
from edgeopt.compiler.running import Feeds


@dataclass(kw_only=True)
class Prepared:
    """A normalised float graph, its layers, and where int8 goes."""

    graph: Graph
    layers: list[Layer]
    placement: Placement
    skipped: list[Layer]
    float_kinds: frozenset[str]


@dataclass(kw_only=True)
class Observed:
    """What the samples showed of one float graph. By tensor: ranges, histograms. By layer name: samplers, moments, mean answers."""

    prepared: Prepared
    ranges: ChannelRanges
    histograms: Histograms
    samplers: dict[str, Sampler]
    moments: dict[str, Moments]
    sums: dict[str, Array]
    """Of each channel's answers behind the activation, [samples looked at, O], in the samples' order."""
    positions: dict[str, Array]
    """How many answers are in each sum, [samples looked at]: inputs of changing length have more or fewer."""


def prepare(
    model: Any,
    encoding: Encoding = U8S8,
    *,
    float_layers: frozenset[str] = frozenset(),
    float_kinds: frozenset[str] = frozenset(),
) -> Prepared:
    """Normalise a tidy float32 model (it is not changed) and decide where int8 goes.

    Args:
        model: opset 13 or later, shapes inferable.
        encoding: what it will be written as: it decides about ranges, rounding and what is int8 at all.
        float_layers: names of layers that stay float.
        float_kinds: operators between layers that stay float.
    """
    own = type(model)()
    own.CopyFrom(model)
    graph = Graph(own)
    normalise(graph)
    prepared = _placed(graph, encoding, float_layers, float_kinds)
    if answer_in_float(graph, prepared.placement):
        prepared = _placed(graph, encoding, float_layers, float_kinds)
    return prepared


def _placed(graph: Graph, encoding: Encoding, float_layers: frozenset[str], float_kinds: frozenset[str]) -> Prepared:
    found = find_layers(graph)
    layers = [layer for layer in found if layer.name not in float_layers]
    skipped = [layer for layer in found if layer.name in float_layers]
    placement = place(graph, layers, encoding=encoding, skip_kinds=float_kinds)
    return Prepared(graph=graph, layers=layers, placement=placement, skipped=skipped, float_kinds=float_kinds)


def keep_far_joins_float(prepared: Prepared, ranges: ChannelRanges) -> int:
    """Place anew without the Concats that join what one scale cannot hold; returns how many there are."""
    far = far_joins(prepared.graph, prepared.placement, ranges)
    if far:
        prepared.placement = place(
            prepared.graph,
            prepared.layers,
            encoding=prepared.placement.encoding,
            skip_kinds=prepared.float_kinds,
            skip_nodes=far,
        )
    return len(far)


def channel_ranges(prepared: Prepared, feeds: Feeds) -> ChannelRanges:
    """One pass over the float graph."""
    ranges = ChannelRanges()
    names = sorted(prepared.placement.tensors | {layer.out for layer in prepared.layers})
    run_taps(prepared.graph.model, names, feeds, ranges.visit, doing="ranges")
    return ranges


def equalised(prepared: Prepared, ranges: ChannelRanges) -> tuple[Prepared, ChannelRanges, int]:
    """A copy in which small channels are lifted; the ranges are those of the copy. And how many layers were scaled."""
    made = copy.copy(prepared)
    own = type(prepared.graph.model)()
    own.CopyFrom(prepared.graph.model)
    made.graph = Graph(own)
    made.layers = [copy.copy(layer) for layer in prepared.layers]
    scaled = copy.copy(ranges)
    scaled.low, scaled.high = dict(ranges.low), dict(ranges.high)
    count = equalise(made.graph, made.layers, made.placement, scaled)
    write_back(made.graph, made.layers)
    return made, scaled, count


def observe(prepared: Prepared, ranges: ChannelRanges, feeds: Feeds, *, looked_at: int) -> Observed:
    """One pass over a float graph whose ranges are known; means from the first `looked_at` samples."""
    layers = prepared.layers
    seen = samplers(prepared.graph, layers)
    rounded = [layer for layer in layers if can_round(layer, seen[layer.name])]
    moments = {layer.name: Moments() for layer in rounded}
    histograms = Histograms(ranges, prepared.placement.tensors)
    sums: dict[str, list[Array]] = {layer.name: [] for layer in layers}
    positions: dict[str, list[int]] = {layer.name: [] for layer in layers}
    exact = ChannelRanges()

    def visit(number: int, tensors: dict[str, Array]) -> None:
        exact.visit(number, {name: tensors[name] for name in quantised})
        histograms.visit(number, tensors)
        for layer in rounded:
            moments[layer.name].add(seen[layer.name].patches(tensors[layer.source], tensors[layer.linear].shape))
        for layer in layers if number < looked_at else ():
            answer = layer.curve.apply(seen[layer.name].look(tensors[layer.linear]))
            sums[layer.name].append(answer.sum(axis=1, dtype=np.float64))
            positions[layer.name].append(answer.shape[1])

    quantised = sorted(prepared.placement.tensors)
    names = sorted({*quantised, *(layer.linear for layer in layers), *(layer.source for layer in layers)})
    run_taps(prepared.graph.model, names, feeds, visit, doing="statistics")
    return Observed(
        prepared=prepared,
        ranges=exact,
        histograms=histograms,
        samplers=seen,
        moments=moments,
        sums={name: np.stack(values) for name, values in sums.items()},
        positions={name: np.array(counts) for name, counts in positions.items()},
    )


def rounded(observed: Observed, scales: dict[str, Scale]) -> Network:
    """The network with its weights rounded, biases as they are."""
    prepared = observed.prepared
    network = Network(
        graph=prepared.graph,
        layers=[copy.copy(layer) for layer in prepared.layers],
        placement=prepared.placement,
        scales=scales,
    )
    limit = prepared.placement.encoding.weight_limit
    for number, layer in enumerate(network.layers):
        tell("rounding", number, len(network.layers))
        source = network.scale_of(layer.source)
        steps = weight_scales(layer, source, limit)
        moments = observed.moments.get(layer.name)
        covariance = None if moments is None else moments.covariance()
        network.weight_scales[layer.name] = steps
        network.codes[layer.name] = (
            nearest_codes(layer, steps, limit)
            if covariance is None
            else rounded_codes(layer, steps, covariance, source, limit)
        )
    return network


def corrected(network: Network, observed: Observed, feeds: Feeds) -> Network:
    """A copy of a rounded network with its biases corrected."""
    made = copy.copy(network)
    made.layers = [copy.copy(layer) for layer in network.layers]
    correct_biases(made, observed.samplers, mean_answers(observed, feeds.count), feeds)
    return made


def mean_answers(observed: Observed, count: int) -> dict[str, Array]:
    """Mean of each channel's answers behind the activation over the first `count` samples, [O] by layer name."""
    return {
        name: sums[:count].sum(axis=0) / observed.positions[name][:count].sum() for name, sums in observed.sums.items()
    }


def looked_at(observed: Observed) -> int:
    """How many samples the means come from."""
    return len(next(iter(observed.sums.values())))


def range_choices(observed: Observed) -> dict[str, dict[str, Scale]]:
    """The activation scales worth trying, by the word that a report uses."""
    placement = observed.prepared.placement
    curves = {layer.linear: layer.curve for layer in observed.prepared.layers if layer.linear == layer.out}
    return {
        "full ranges": widest(placement, observed.ranges),
        "least-error ranges": cheapest(placement, observed.ranges, observed.histograms, curves),
    }


def passes(prepared: Prepared) -> int:
    """How often bias correction runs the samples."""
    return len(layer_levels(prepared.graph, prepared.layers))
