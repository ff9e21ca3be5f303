"""Fit what is left to the original, layer after layer: each reads what the smaller network really makes and is to answer what the original's layer answered. Child side.

Least squares, as in He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, with the errors of earlier layers in the inputs (asymmetric, Zhang et al., Accelerating Very Deep
Convolutional Networks for Classification and Detection, TPAMI 2016, section 3.3) and behind the activation: where the original is cut off at 0, any answer below 0 is right. A layer whose answer is added to another branch is fitted
to the sum, so that it makes up for what the other branch has lost (multi-branch, He et al., section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.bias import layer_levels
from edgeopt.compiler.quantize.curve import Curve, curve_behind
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer, find_layers, write_back
from edgeopt.compiler.quantize.observe import float_session, tapped
from edgeopt.compiler.quantize.patches import POSITIONS, Sampler
from edgeopt.compiler.running import Feeds

RIDGE, RIDGE_FOR_COLUMNS = 1e-3, 10.0
"""Of the mean variance: how strongly weights are held where they are. At least the first, and the second for each column over the number of positions seen: a dense layer sees one position of a sample."""

ROUNDS = 4
"""Of fitting behind the activation."""

MOST_BYTES = 128 << 20
"""Of inputs that are held for one layer; what comes then is not looked at."""


@dataclass(kw_only=True)
class _Fit:
    """One layer of the smaller network while it is fitted. `goal` is the original's tensor that its answer is to make, `beside` what is added to it on the way, `rows` which of the original's channels are left."""

    layer: Layer
    sampler: Sampler
    goal: str
    beside: str | None
    curve: Curve
    rows: Array
    inputs: list[Array] = field(default_factory=list)
    goals: list[Array] = field(default_factory=list)
    held: int = 0

    def aim(self, theirs: Mapping[str, Array]) -> None:
        """Take the original's answers to one sample."""
        self.goals.append(self.sampler.look(theirs[self.goal])[self.rows].astype(np.float32))

    def look(self, mine: Mapping[str, Array]) -> None:
        """Take what the smaller network makes of the next sample."""
        if self.held > MOST_BYTES:
            return
        patches = self.sampler.patches(mine[self.layer.source], mine[self.layer.linear].shape)
        if self.beside is not None:
            self.goals[len(self.inputs)] -= self.sampler.look(mine[self.beside])
        self.inputs.append(patches.astype(np.float32))
        self.held += patches.nbytes

    def reads(self) -> list[str]:
        """Tensors of the smaller network."""
        return [self.layer.source, self.layer.linear, *([] if self.beside is None else [self.beside])]

    def bytes(self, samples: int) -> int:
        """Of the goals, at most."""
        return 4 * POSITIONS * samples * int(self.rows.sum())

    def solve(self) -> None:
        """Change the layer's weights and bias."""
        inputs = np.concatenate(self.inputs, axis=2)  # [G, K, M]
        groups, columns, seen = inputs.shape
        goals = np.concatenate(self.goals[: len(self.inputs)], axis=1).reshape(groups, -1, seen)
        center = inputs.mean(axis=2, keepdims=True, dtype=np.float64)
        inputs -= center.astype(np.float32)
        gram = np.matmul(inputs, inputs.swapaxes(1, 2)).astype(np.float64) / seen
        held = max(RIDGE, RIDGE_FOR_COLUMNS * columns / seen)
        ridge = held * np.trace(gram, axis1=1, axis2=2)[:, None, None] / columns + 1e-9
        gram += ridge * np.eye(columns)
        weight = start = self.layer.weight.reshape(groups, -1, columns).astype(np.float64)
        bias = self.layer.bias.reshape(groups, -1, 1) + np.matmul(weight, center)
        for _ in range(ROUNDS if self.curve.below == 0.0 else 1):
            answers = np.matmul(weight.astype(np.float32), inputs) + bias.astype(np.float32)
            wanted = self._wanted(goals, answers)
            bias = wanted.mean(axis=2, keepdims=True, dtype=np.float64)
            pull = np.matmul(wanted, inputs.swapaxes(1, 2)) / np.float32(seen) + ridge * start
            weight = np.linalg.solve(gram, pull.swapaxes(1, 2)).swapaxes(1, 2)
        bias = bias - np.matmul(weight, center)
        self.layer.weight = weight.reshape(self.layer.weight.shape).astype(np.float32)
        self.layer.bias = bias.reshape(-1).astype(np.float32)
        self.inputs, self.goals = [], []

    def _wanted(self, goals: Array, answers: Array) -> Array:
        """The goals, but for what the activation cuts off: there whatever is cut off as well is right already."""
        if self.curve.below != 0.0 or self.beside is not None:
            return goals
        wanted = np.where(goals < 0.0, np.minimum(answers, 0.0), goals)
        if np.isfinite(self.curve.high):
            wanted = np.where(goals > self.curve.high, np.maximum(answers, self.curve.high), wanted)
        return wanted


def refit(original: Graph, names: Mapping[str, Array], model: Any, feeds: Feeds, *, threads: int = 1) -> Any:
    """Fit the layers of a smaller model, the first ones first; the model is changed and given back.

    Args:
        original: graph of the whole network.
        names: by layer name, which of the original's output channels are left (bool [O]).
        model: the smaller one, tensors named as in the original.
        feeds: samples.
        threads: of the runtime.
    """
    graph = Graph(model)
    layers = find_layers(graph)
    fits = {layer.name: fit for i, layer in enumerate(layers) if (fit := _fit(original, graph, layer, names, i))}
    levels = layer_levels(graph, [layer for layer in layers if layer.name in fits])
    done = 0
    theirs, mine = _Runner(original, feeds, threads), _Runner(graph, feeds, threads)
    for part in _parts([[fits[layer.name] for layer in level] for level in levels], feeds.count):
        goals = sorted({fit.goal for level in part for fit in level})
        theirs.run(goals, [fit.aim for level in part for fit in level])
        for level in part:
            tell("fitting", done, len(levels))
            done += 1
            mine.run(sorted({name for fit in level for name in fit.reads()}), [fit.look for fit in level])
            for fit in level:
                fit.solve()
            write_back(graph, [fit.layer for fit in level])
    return graph.model


def _parts(levels: list[list[_Fit]], samples: int) -> Iterator[list[list[_Fit]]]:
    """Levels whose goals fit into memory together, so that the original runs once for all of them."""
    part: list[list[_Fit]] = []
    held = 0
    for level in levels:
        size = sum(fit.bytes(samples) for fit in level)
        if part and held + size > MOST_BYTES:
            yield part
            part, held = [], 0
        part.append(level)
        held += size
    if part:
        yield part


def _fit(original: Graph, graph: Graph, layer: Layer, names: Mapping[str, Array], number: int) -> _Fit | None:
    sampler = Sampler(graph, layer, number)
    if layer.name not in names or not sampler.has_patches or layer.linear not in original.producer:
        return None
    goal, beside = layer.linear, _added(graph, layer)
    if beside is not None:
        goal = graph.consumers[layer.linear][0].output[0]
    return _Fit(
        layer=layer, sampler=sampler, goal=goal, beside=beside, curve=curve_behind(graph, goal), rows=names[layer.name]
    )


def _added(graph: Graph, layer: Layer) -> str | None:
    """The other branch of the residual sum that alone reads a layer's answer, if it is there before the layer: it does not depend on any layer as deep."""
    reader = graph.only_consumer(layer.linear)
    if reader is None or reader.op_type != "Add":
        return None
    other = reader.input[1] if reader.input[0] == layer.linear else reader.input[0]
    shape, same = graph.shape(other), graph.shape(layer.linear)
    if other in graph.tensors or shape is None or shape != same:
        return None
    return other if _depth(graph, other) < _depth(graph, layer.linear) else None


def _depth(graph: Graph, tensor: str) -> int:
    """How many nodes lie on the longest way to a tensor."""
    depth: dict[str, int] = {}
    for node in graph.graph.node:
        deepest = 1 + max((depth.get(name, 0) for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, deepest))
    return depth.get(tensor, 0)


class _Runner:
    """Runs one network over the samples, as it is at the time."""

    def __init__(self, graph: Graph, feeds: Feeds, threads: int) -> None:
        self.graph, self.feeds, self.threads = graph, feeds, threads

    def run(self, names: list[str], visits: list[Callable[[Mapping[str, Array]], None]]) -> None:
        """One pass; each sample's tensors, inputs of the model among them, go to all of `visits`."""
        inner = [name for name in names if name not in self.graph.inputs]
        session = float_session(tapped(self.graph.model, inner), threads=self.threads)
        known = {value.name for value in session.get_inputs()}
        for feed in self.feeds:
            values = session.run(inner, {name: value for name, value in feed.items() if name in known})
            tensors = dict(feed) | dict(zip(inner, values, strict=True))
            for visit in visits:
                visit(tensors)
