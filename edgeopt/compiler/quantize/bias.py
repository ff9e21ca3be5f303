"""Sequential bias correction: layer after layer, the mean of each channel's answer *behind its activation* is brought back to the float network's. Child side.

Rounding shifts means, and means add up from layer to layer (Nagel et al. 2019, section 4.2, who correct before the activation; matching behind it is worth another decibel
or two on the networks of docs/compression.md). Layers of the same depth are corrected in one pass over the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.curve import Curve
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.observe import Feed, run_taps
from edgeopt.compiler.quantize.patches import Sampler

LARGEST_SHIFT = 0.5
"""In standard deviations of the channel: a larger shift is an outlier's work."""

STEPS = 6
LEAST_SLOPE = 0.05
MAX_PASSES = 64


def correct_biases(
    network: Network,
    samplers: dict[str, Sampler],
    targets: dict[str, Array],
    feeds: Iterable[Feed],
) -> None:
    """Change the biases of `network` in place.

    Args:
        network: complete, but for the biases.
        samplers: by layer name; those that saw the float network.
        targets: mean of each channel of the float network's answer behind its activation, at the samplers' positions, by layer name.
        feeds: the same samples that gave the targets.
    """
    levels = layer_levels(network.graph, network.layers)
    for number, level in enumerate(levels):
        tell("bias correction", number, len(levels))
        seen: dict[str, list[Array]] = {layer.name: [] for layer in level}

        def visit(
            _: int, tensors: dict[str, Array], level: list[Layer] = level, seen: dict[str, list[Array]] = seen
        ) -> None:
            for layer in level:
                seen[layer.name].append(samplers[layer.name].look(tensors[layer.linear]))

        model = emit(network, keep_activations=True)
        run_taps(model, [layer.linear for layer in level], feeds, visit)
        for layer in level:
            answers = np.concatenate(seen[layer.name], axis=1)
            layer.bias = layer.bias + shift_for(answers, targets[layer.name], layer.curve)


def shift_for(answers: Array, target: Array, curve: Curve) -> Array:
    """The shift of each channel after which the mean of curve(answer + shift) is `target`. answers [O, M], target [O]; float32 [O].

    Newton's method; the mean slope is kept from 0, where a channel hardly ever answers.
    """
    limit = LARGEST_SHIFT * answers.std(axis=1)
    shift = np.zeros(len(answers))
    for _ in range(STEPS):
        moved = answers + shift[:, None].astype(answers.dtype)
        gap = target - curve.apply(moved).mean(axis=1, dtype=np.float64)
        slope = curve.slope(moved).mean(axis=1)
        shift = np.clip(shift + gap / np.maximum(slope, LEAST_SLOPE), -limit, limit)
    return shift.astype(np.float32)


def layer_levels(graph: Graph, layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers by depth, deep networks merged to MAX_PASSES levels."""
    ordered = layers_by_depth(graph, layers)
    width = -(-len(ordered) // MAX_PASSES)
    return [[layer for level in ordered[i : i + width] for layer in level] for i in range(0, len(ordered), width)]


def layers_by_depth(graph: Graph, layers: Sequence[Layer]) -> list[list[Layer]]:
    """By how many layers lie before them on the longest way from the input: those of one depth read nothing of each other."""
    by_product = {layer.product: layer for layer in layers}
    depth: dict[str, int] = {}
    levels: dict[int, list[Layer]] = {}
    for node in graph.graph.node:
        deepest = max((depth.get(name, 0) for name in node.input), default=0)
        layer = by_product.get(node.output[0]) if node.output else None
        if layer is not None:
            levels.setdefault(deepest, []).append(layer)
            deepest += 1
        for name in node.output:
            depth[name] = deepest
    return [levels[key] for key in sorted(levels)]
