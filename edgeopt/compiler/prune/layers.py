"""Layers of a stack of alike ones (transformers): where one begins and ends, told by the graph alone. Child side.

A *waist* is a tensor that everything passes on its way from the embeddings to the answer. Between two waists lies a segment; a stack is where segments repeat with a
period, and a layer is one period. Masks and sizes are no part of it: they reach every layer from outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from edgeopt.compiler.prune.blocks import Block
from edgeopt.compiler.quantize.graph import Graph

NORMALISATIONS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})
TOLD = frozenset({"MatMul", "Gemm", "Conv", "Softmax", "Erf", "Gelu"}) | NORMALISATIONS
"""Operators that tell segments apart, and all that have a constant of several values; shapes are folded differently from layer to layer."""

LEAST_LAYERS = 3
Signature = tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]


def find_layers(graph: Graph) -> list[Block]:
    """Layers of the longest stack, in order of execution: `total` is where one ends, `source` where it begins. None where nothing repeats three times."""
    waists = find_waists(graph)
    signatures = [signature for _, signature in waists]
    best: tuple[int, int, int] | None = None
    for period in range(1, len(signatures) // LEAST_LAYERS + 1):
        for start, count in _runs(signatures, period):
            if (
                count >= LEAST_LAYERS
                and _has_weights(signatures[start : start + period])
                and (best is None or count * period > best[1] * best[2])
            ):
                best = (start, count, period)
    if best is None:
        return []
    start, count, period = _on_a_normalisation(graph, waists, signatures, best)
    ends = [waists[start - 1 + i * period][0] for i in range(count + 1)]
    return [Block(total=total, source=source, name=f"layer {i}") for i, (source, total) in enumerate(pairwise(ends), 1)]


def find_waists(graph: Graph) -> list[tuple[str, Signature]]:
    """Every waist, in order of execution, with the signature of the segment that ends there."""
    data = _data_nodes(graph)
    left = _readers(graph, data)
    made = {name for node in data for name in node.output}
    pending = len([node for node in data if not any(name in made for name in node.input)])
    live: set[str] = set()
    found, told = [], []
    for node in data:
        own = [name for name in dict.fromkeys(node.input) if name in made]
        pending -= not own
        for name in own:
            left[name] -= 1
            if not left[name]:
                live.discard(name)
        live |= {name for name in node.output if left.get(name)}
        told.append(node)
        if len(live) == 1 and not pending:
            (waist,) = live
            if waist in node.output:
                found.append((waist, _signature(graph, told)))
                told = []
    return found


def _data_nodes(graph: Graph) -> list[Any]:
    """Nodes between the embeddings, or float inputs of three axes or more, and the first answer. What only looks at sizes is left out."""
    starts = {
        node.output[0]
        for node in graph.graph.node
        if node.op_type == "Gather" and graph.is_float(node.input[0]) and len(_dims(graph, node.input[0])) == 2
    }
    if not starts:
        starts = {name for name in graph.inputs if graph.is_float(name) and (graph.rank(name) or 0) >= 3}
    reached = set(starts)
    forward = []
    for node in graph.graph.node:
        if node.op_type not in ("Shape", "Size") and (
            reached.intersection(node.input) or starts.intersection(node.output)
        ):
            reached.update(node.output)
            forward.append(node)
    needed, kept = set(graph.outputs[:1]), []
    for node in reversed(forward):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _dims(graph: Graph, name: str) -> tuple[int, ...]:
    """Axes of a constant, none for anything else."""
    return tuple(graph.tensors[name].dims) if name in graph.tensors else ()


def _readers(graph: Graph, data: Sequence[Any]) -> dict[str, int]:
    """How many nodes, or the caller, read each tensor."""
    left: dict[str, int] = {}
    for node in data:
        for name in dict.fromkeys(node.input):
            left[name] = left.get(name, 0) + 1
    return left | {name: left.get(name, 0) + 1 for name in graph.outputs[:1]}


def _signature(graph: Graph, nodes: Sequence[Any]) -> Signature:
    """What is computed in a segment, by kinds and sizes of weights."""
    told = []
    for node in nodes:
        shapes = tuple(
            dims for name in node.input if (dims := _dims(graph, name)) and graph.is_float(name) and max(dims) > 1
        )
        if shapes or node.op_type in TOLD:
            told.append((node.op_type, shapes))
    return tuple(sorted(told))


def _runs(signatures: Sequence[Signature], period: int) -> Iterator[tuple[int, int]]:
    """(first segment, number of whole periods) of each stretch that repeats with this period."""
    start = 1  # the first segment begins at no waist
    while start + period <= len(signatures):
        end = start + period
        while end < len(signatures) and signatures[end] == signatures[end - period]:
            end += 1
        yield start, (end - start) // period
        start = max(start + 1, end - period + 1)


def _has_weights(signatures: Sequence[Signature]) -> bool:
    return any(len(shape) > 1 for signature in signatures for _, shapes in signature for shape in shapes)


def _on_a_normalisation(
    graph: Graph, waists: Sequence[tuple[str, Signature]], signatures: Sequence[Signature], found: tuple[int, int, int]
) -> tuple[int, int, int]:
    """The same stack, from where a layer begins behind a normalisation, when one of its phases does and loses no layer."""
    start, count, period = found
    for shift in range(period):
        first = start + shift
        whole = first + count * period <= len(signatures) and all(
            signatures[i] == signatures[i + period] for i in range(first, first + (count - 1) * period)
        )
        if whole and graph.producer[waists[first - 1][0]].op_type in NORMALISATIONS:
            return first, count, period
    return found
