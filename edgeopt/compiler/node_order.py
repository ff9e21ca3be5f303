"""Put nodes behind what they need. ONNX demands it, and several libraries append their new nodes at the end. Child side."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from edgeopt.compiler.graph_walk import walk_graphs
from edgeopt.compiler.refuse import Refused


def sort_nodes(model: Any) -> Any:
    """Sort every graph of the model in place; nodes that need not move keep their order. Returns the model.

    Raises:
        Refused: a graph goes in a circle.
    """
    graphs = [graph for graph, _ in walk_graphs(model)]
    # Bodies before the graphs around them: sorting copies nodes, with the bodies inside.
    for graph in reversed(graphs):
        order = _order(graph.node)
        if order != list(range(len(order))):
            sorted_nodes = [graph.node[index] for index in order]
            copies = [type(node).FromString(node.SerializeToString()) for node in sorted_nodes]
            del graph.node[:]
            graph.node.extend(copies)
    return model


def _order(nodes: Any) -> list[int]:
    """Indices in an order that respects what each node needs, smallest index first (Kahn's algorithm with a heap)."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waits: list[int] = [0] * len(nodes)
    followers: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        needed = {makers[name] for name in _names_used(node) if name in makers} - {index}
        waits[index] = len(needed)
        for maker in needed:
            followers[maker].append(index)
    ready = [index for index, count in enumerate(waits) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for follower in followers[index]:
            waits[follower] -= 1
            if waits[follower] == 0:
                heapq.heappush(ready, follower)
    if len(order) < len(waits):
        raise Refused("step-failed", "the graph goes in a circle")
    return order


def _names_used(node: Any) -> Iterator[str]:
    """Inputs of the node and of every node in its bodies, which see the names around them."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield from current.input
        for attribute in current.attribute:
            for body in (attribute.g, *attribute.graphs):
                stack += body.node
                yield from (output.name for output in body.output)
