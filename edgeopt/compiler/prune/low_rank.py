"""Large products as two smaller ones, where that takes less time and the answers hardly change. Child side.

The best W' of rank r for inputs of covariance C = L L^T, in the mean square of the answers, is that whose W' L is the truncated singular value decomposition of W L (whitening: Wang et al., SVD-LLM, ICLR 2025, Theorem 3.2; the
plain decomposition would treat all inputs alike). The bias takes the difference in means. Worth it for wide matrices: two products move and multiply r (I + O) instead of I O.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.prune.budgets import Budget
from edgeopt.compiler.prune.cost import CostModel, Rates
from edgeopt.compiler.prune.damage import Judge
from edgeopt.compiler.prune.gram import Statistics, observe
from edgeopt.compiler.prune.network import Network
from edgeopt.compiler.prune.run import Pruned, divide
from edgeopt.compiler.prune.wording import agreement_words, weights_words
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds

LEAST_GAIN = 0.9
"""Two products must be counted under this share of the one."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """`first` [r, K] and `second` [O, r] for a layer's weights [O, K], and the bias [O] that goes with them."""

    layer: Layer
    first: Array
    second: Array
    bias: Array


def low_rank(
    model: Any, feeds: Feeds, *, energy: float, block: int, rates: Rates, budget: Budget, classes: bool = True
) -> Pruned:
    """Write products of a tidy float32 model as two, each where it pays.

    Args:
        model: opset 13 or later; it is not changed. Names of tensors stay.
        feeds: samples.
        energy: share of the variance of a product's answers that must be left, 0..1.
        block: ranks are multiples of it.
        rates: what time is counted by.
        budget: how many samples are looked at.
        classes: whether a vector may be class scores.

    Raises:
        Refused: nothing-to-do.
    """
    judging, fitting = divide(feeds, budget)
    network = Network.of(model, next(iter(feeds)))
    costs = CostModel(network.graph, network.layers, block=block, rates=rates)
    wide = [layer for layer in network.layers.values() if _is_matrix(network.graph, layer, 4 * block)]
    statistics = observe(network.graph, wide, fitting)
    pairs = [
        pair
        for layer in wide
        if layer.name in statistics
        for pair in _cheaper(layer, statistics[layer.name], energy, block, costs)
    ]
    if not pairs:
        raise Refused(
            "nothing-to-do", f"no product is cheaper as two that keep {100 * energy:.1f} % of its answers' variance"
        )
    made = type(model)()
    made.CopyFrom(network.graph.model)
    _write(Graph(made), pairs)
    damage = Judge(network.graph.model, judging, classes=classes).damage(made)
    ranks = ", ".join(f"{pair.layer.name} {len(pair.first)}" for pair in pairs[:4])
    notes = [
        f"{len(pairs)} products as two of lower rank ({ranks}); {weights_words(made, network.graph.model)}",
        f"{agreement_words(damage)} on {judging.count} samples that nothing was fitted to",
    ]
    return Pruned(model=made, notes=notes)


def _is_matrix(graph: Graph, layer: Layer, least: int) -> bool:
    """A product by a matrix, a 1x1 convolution without padding among them, that is wide both ways."""
    flat = layer.weight.ndim == 2 or set(layer.weight.shape[2:]) == {1}
    node = graph.producer[layer.product]
    padded = any(each.name in ("pads", "auto_pad") and (each.s or any(each.ints)) for each in node.attribute)
    return layer.group == 1 and flat and not padded and min(layer.channels, layer.fan_in) >= least


def _cheaper(layer: Layer, statistics: Statistics, energy: float, block: int, costs: CostModel) -> Iterator[_Pair]:
    """The pair of least rank that keeps enough, if it is cheaper."""
    weight = layer.weight.reshape(layer.channels, -1).astype(np.float64)
    root = np.linalg.cholesky(statistics.ridged())
    left, sizes, right = np.linalg.svd(weight @ root, full_matrices=False)
    kept = np.cumsum(np.square(sizes)) / max(float(np.square(sizes).sum()), 1e-30)
    rank = -(-(int(np.searchsorted(kept, energy)) + 1) // block) * block
    if rank >= len(sizes) or costs.as_two(layer, rank) > LEAST_GAIN * costs.as_one(layer):
        return
    second = left[:, :rank] * sizes[:rank]
    first = np.linalg.solve(root.T, right[:rank].T).T
    bias = layer.bias + (weight - second @ first) @ statistics.mean
    yield _Pair(
        layer=layer, first=first.astype(np.float32), second=second.astype(np.float32), bias=bias.astype(np.float32)
    )


def _write(graph: Graph, pairs: list[_Pair]) -> None:
    """Put two nodes where one was; the second has its name and its output."""
    by_product = {pair.layer.product: pair for pair in pairs}
    nodes = []
    for node in graph.graph.node:
        pair = by_product.get(node.output[0]) if node.output else None
        if pair is None:
            nodes.append(node)
            continue
        nodes += _two(graph, node, pair)
        if pair.layer.kind == "MatMul":
            graph.producer[pair.layer.linear].input[1] = graph.add_constant(f"{node.name}_bias", pair.bias)
    graph.replace_nodes(nodes)
    graph.prune()


def _two(graph: Graph, node: Any, pair: _Pair) -> list[Any]:
    between = graph.fresh(f"{node.output[0]}_low")
    first, second = copy.deepcopy(node), copy.deepcopy(node)
    first.name = between
    weights = [pair.first, pair.second]
    if pair.layer.kind == "MatMul":
        weights = [matrix.T for matrix in weights]
    elif pair.layer.kind == "Conv":
        ones = (1,) * (pair.layer.weight.ndim - 2)
        weights = [matrix.reshape(*matrix.shape, *ones) for matrix in weights]
        others = [each for each in second.attribute if each.name != "strides"]
        copies = [type(each).FromString(each.SerializeToString()) for each in others]
        del second.attribute[:]
        second.attribute.extend(copies)
    for made, matrix, source, target in (
        (first, weights[0], node.input[0], between),
        (second, weights[1], between, node.output[0]),
    ):
        inputs = [source, graph.add_constant(f"{node.name}_low", matrix)]
        if pair.layer.kind != "MatMul":
            bias = pair.bias if made is second else np.zeros(len(pair.first), np.float32)
            inputs.append(graph.add_constant(f"{node.name}_low_bias", bias))
        del made.input[:], made.output[:]
        made.input.extend(inputs)
        made.output.append(target)
    return [first, second]
