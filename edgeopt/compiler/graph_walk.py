"""Walk over every graph and tensor of an ONNX model without recursion, so that a deeply nested file is counted and not suffered. Child side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeopt.compiler.refuse import Refused

MAX_NODES = 200_000
MAX_TENSORS = 100_000
MAX_NESTING = 24
"""protobuf itself ends at about 33 levels of graphs."""
MAX_NAME_BYTES = 512


def walk_graphs(model: Any) -> Iterator[tuple[Any, int]]:
    """Every graph with its depth: the main one is 0, bodies of If, Loop and Scan are deeper, functions count as depth 1.

    What is yielded has `.node`; only GraphProto has `.initializer`.
    """
    stack: list[tuple[Any, int]] = [(model.graph, 0)]
    stack += [(function, 1) for function in model.functions]
    stack += [(info.algorithm, 1) for info in model.training_info]
    stack += [(info.initialization, 1) for info in model.training_info]
    while stack:
        graph, depth = stack.pop()
        yield graph, depth
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append((attribute.g, depth + 1))
                stack += [(body, depth + 1) for body in attribute.graphs]


def graph_tensors(graph: Any) -> Iterator[Any]:
    """Every TensorProto that a graph holds itself: initialisers, sparse ones in their parts, attributes of its nodes."""
    sparse: list[Any] = []
    if hasattr(graph, "initializer"):
        yield from graph.initializer
        sparse += graph.sparse_initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                sparse.append(attribute.sparse_tensor)
            sparse += attribute.sparse_tensors
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def walk_tensors(model: Any) -> Iterator[Any]:
    """Every TensorProto of the model, those in functions and bodies too."""
    for graph, _ in walk_graphs(model):
        yield from graph_tensors(graph)


def behind_control_flow(model: Any) -> str:
    """A remark for a model of whose main graph nothing could be quantised; empty when it has no other graph."""
    depth = max(depth for _, depth in walk_graphs(model))
    return " (its weights lie inside of control flow, which is left alone)" if depth else ""


def check_bounds(model: Any) -> None:
    """Refuse graphs beyond what any network for a small board has.

    Raises:
        Refused: model-too-large.
    """
    nodes = tensors = 0
    for graph, depth in walk_graphs(model):
        nodes += len(graph.node)
        tensors += sum(1 for _ in graph_tensors(graph))
        _bound(depth, MAX_NESTING, "levels of nested graphs")
        _bound(nodes, MAX_NODES, "nodes")
        _bound(tensors, MAX_TENSORS, "tensors")
        _bound(_longest_name(graph), MAX_NAME_BYTES, "bytes in a name")


def _bound(found: int, most: int, what: str) -> None:
    if found > most:
        raise Refused("model-too-large", f"it has {found:,} {what}, and {most:,} is the most that is read")


def _longest_name(graph: Any) -> int:
    longest = 0
    for node in graph.node:
        for name in (node.name, node.op_type, node.domain, *node.input, *node.output):
            longest = max(longest, len(name.encode()))
    if hasattr(graph, "initializer"):
        for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            longest = max(longest, len(value.name.encode()))
    return longest
