"""SmoothQuant: what is large in a few channels of a tensor moves into the weights that read it. Child side.

Channel j is divided by s_j = max|x_j|^a / max|w_j|^(1 - a), and every layer that reads it multiplies: the network computes the same (Xiao et al., SmoothQuant, ICML 2023, eq. 4).
In transformers a few channels are a hundred times larger than the others, and one scale for all leaves those a bit or two. Where 1 / s goes is what `spots` finds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.calibrate import Prepared, channel_ranges
from edgeopt.compiler.quantize.emit import LEVELS, Network, emit, nearest_codes, weight_scales
from edgeopt.compiler.quantize.encoding import U8S8
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer, write_back
from edgeopt.compiler.quantize.observe import Feed, run_taps
from edgeopt.compiler.quantize.placement import place
from edgeopt.compiler.quantize.ranges import widest
from edgeopt.compiler.quantize.spots import Spot, find_spots
from edgeopt.compiler.running import Feeds

ALPHAS = (0.3, 0.5, 0.65, 0.8)

SEEN = 32
"""Samples from which the size of a channel is known well enough."""

LEAST_GAIN_DB = 1.0
"""What the estimate must promise where a product in front of the layers is the price."""

LARGEST = 1e4
"""Factors stay within this of their mean, so that nothing leaves float32."""


@dataclass(kw_only=True)
class Channels:
    """What samples showed of a tensor's channels, [C] each: smallest and largest value (or 0), mean square."""

    low: Array
    high: Array
    power: Array


def smoothed_if_better(prepared: Prepared, feeds: Feeds, judge: Callable[[Any], float]) -> tuple[Prepared, list[str]]:
    """The network with large channels made small, where a draft of it in int8 answers better; and what to say of it.

    Args:
        prepared: normalised.
        feeds: calibration samples; the first few are used.
        judge: a QDQ model to its signal to noise ratio in dB.
    """
    made, count = smoothed(prepared, feeds)
    if not count:
        return prepared, []
    before, after = (judge(_draft(each, feeds.first(SEEN))) for each in (prepared, made))
    remark = f"{count} tensors smoothed (a draft has {after:.1f} dB, {before:.1f} without)"
    return (made, [remark]) if after > before else (prepared, [f"not kept: {remark}"])


def _draft(prepared: Prepared, feeds: Feeds) -> Any:
    """QDQ in its plainest: every range as wide as what was seen, every weight to its nearest code."""
    scales = widest(prepared.placement, channel_ranges(prepared, feeds))
    network = Network(graph=prepared.graph, layers=prepared.layers, placement=prepared.placement, scales=scales)
    limit = prepared.placement.encoding.weight_limit
    for layer in network.layers:
        steps = weight_scales(layer, network.scale_of(layer.source), limit)
        network.weight_scales[layer.name], network.codes[layer.name] = steps, nearest_codes(layer, steps, limit)
    return emit(network)


def smoothed(prepared: Prepared, feeds: Feeds) -> tuple[Prepared, int]:
    """A copy in which large channels are small, and how many tensors were scaled; `prepared` itself when nothing is to gain."""
    if not find_spots(prepared.graph, prepared.layers):
        return prepared, 0
    made = copy.copy(prepared)
    own = type(prepared.graph.model)()
    own.CopyFrom(prepared.graph.model)
    made.graph = Graph(own)
    made.layers = [copy.copy(layer) for layer in prepared.layers]
    count = smooth(made.graph, made.layers, feeds.first(SEEN))
    if not count:
        return prepared, 0
    made.placement = place(made.graph, made.layers, encoding=prepared.placement.encoding, skip_kinds=made.float_kinds)
    return made, count


def smooth(graph: Graph, layers: list[Layer], feeds: Iterable[Feed]) -> int:
    """Scale graph and layers in place; returns how many tensors were scaled."""
    spots = find_spots(graph, layers)
    seen = channel_sizes(graph, spots, feeds)
    scaled = 0
    for spot in spots:
        weights = [layer.weight.reshape(layer.channels, -1) for layer in spot.readers]
        if spot.tensor not in seen:
            continue
        factors = best_factors(weights, seen[spot.tensor], 0.0 if spot.folds else LEAST_GAIN_DB)
        if factors is None:
            continue
        spot.divide(graph, factors)
        for layer in spot.readers:
            layer.weight = layer.weight * factors.reshape(1, -1, *[1] * (layer.weight.ndim - 2))
        scaled += 1
    if scaled:
        write_back(graph, layers)
    return scaled


def channel_sizes(graph: Graph, spots: list[Spot], feeds: Iterable[Feed]) -> dict[str, Channels]:
    """One pass over the float graph, by tensor; without those that were empty."""
    axes = {spot.tensor: spot.axis for spot in spots}
    seen: dict[str, Channels] = {}
    rows_seen = dict.fromkeys(axes, 0)

    def visit(_number: int, tensors: dict[str, Array]) -> None:
        for name, axis in axes.items():
            rows = np.moveaxis(tensors[name], axis, -1).reshape(-1, tensors[name].shape[axis])
            if not len(rows):
                continue
            known = seen.setdefault(name, Channels(low=np.float32(0), high=np.float32(0), power=np.float64(0)))
            known.low, known.high = np.minimum(known.low, rows.min(axis=0)), np.maximum(known.high, rows.max(axis=0))
            before = rows_seen[name]
            rows_seen[name] += len(rows)
            known.power = (known.power * before + np.square(rows, dtype=np.float64).sum(axis=0)) / rows_seen[name]

    run_taps(graph.model, sorted(axes), feeds, visit)
    return seen


def best_factors(weights: list[Array], channels: Channels, least_gain_db: float) -> Array | None:
    """The factors of the exponent that promises the least noise, float32 [C]; None when none promises enough. weights: [O, C] each."""
    plain = expected_noise(weights, channels, np.ones(len(channels.low)))
    tried = [smoothing_factors(weights, channels, alpha) for alpha in ALPHAS]
    noises = [expected_noise(weights, channels, factors) for factors in tried]
    least = int(np.argmin(noises))
    if not noises[least] * 10 ** (least_gain_db / 10) < plain:
        return None
    return np.asarray(tried[least], np.float32)


def smoothing_factors(weights: list[Array], channels: Channels, alpha: float) -> Array:
    """The factors of eq. 4, [C], their geometric mean 1, for a common factor changes nothing; 1 for channels that are always 0 or that nobody weighs."""
    largest = np.maximum(-channels.low, channels.high).astype(np.float64)
    weight = np.max([np.abs(each).max(axis=0) for each in weights], axis=0).astype(np.float64)
    alive = (largest > 0.0) & (weight > 0.0)
    logs = np.zeros_like(largest)
    if alive.any():
        logs[alive] = alpha * np.log(largest[alive]) - (1.0 - alpha) * np.log(weight[alive])
        logs[alive] -= logs[alive].mean()
    return np.asarray(np.exp(np.clip(logs, -np.log(LARGEST), np.log(LARGEST))))


def expected_noise(weights: list[Array], channels: Channels, factors: Array) -> float:
    """Noise over signal of the layers' answers, summed over layers: x / s and w * s are rounded evenly (step^2 / 12), each against the other as it is."""
    step = ((channels.high / factors).max() - (channels.low / factors).min()) / LEVELS
    power = float((channels.power / np.square(factors)).sum())
    total = 0.0
    for each in weights:
        scaled = each * factors
        of_weights = np.square(np.abs(scaled).max(axis=1) / U8S8.weight_limit).sum()
        signal = (np.square(each) * channels.power).sum()
        total += float((step**2 * np.square(scaled).sum() + power * of_weights) / (12.0 * max(signal, 1e-30)))
    return total
