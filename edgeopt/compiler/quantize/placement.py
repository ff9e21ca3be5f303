"""Which tensors carry int8, and which of them must share a scale. Child side; reads the graph, changes nothing.

Layers are int8. What stands between layers is int8 where that keeps the data in int8 from one layer to the next: an operator is taken along when everything
that it reads comes from int8 operators (or is the model's input) and something that it feeds is one. The rest stays float: softmax, normalisations, the last pooling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgeopt.compiler.quantize.encoding import Encoding
from edgeopt.compiler.quantize.graph import Graph, attribute
from edgeopt.compiler.quantize.layers import Activation, Layer, find_activation
from edgeopt.compiler.quantize.observe import ChannelRanges

CARRIED = frozenset(
    {
        "MaxPool",
        "Reshape",
        "Transpose",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Split",
        "Identity",
        "DepthToSpace",
        "SpaceToDepth",
        "Gather",
    }
)
"""They move values and make none, so input and output have one scale."""

MADE = frozenset(
    {"Add", "Concat", "GlobalAveragePool", "AveragePool", "LeakyRelu", "Relu", "Clip", "Mul", "Sigmoid", "Resize"}
)
"""They make new values, for which the runtime has int8 kernels (Relu and Clip vanish into their quantiser)."""

JOINED = frozenset({"Concat"})
"""Their inputs share one scale, so that nothing is converted; unless the ranges are too far apart."""

TABLED = frozenset({"LeakyRelu", "Sigmoid", "Tanh", "Gelu", "HardSigmoid"})

FAR_APART = 32.0
"""A Concat whose inputs' ranges differ by more than this stays float: in one scale the smaller would have three bits left (detectors join boxes and scores, ORT#10787)."""


@dataclass(kw_only=True)
class Placement:
    """Nodes (by first output) and tensors that are int8. `group` maps a tensor to the one that stands for all with its scale."""

    encoding: Encoding
    nodes: set[str] = field(default_factory=set)
    tensors: set[str] = field(default_factory=set)
    group: dict[str, str] = field(default_factory=dict)
    activations: dict[str, Activation] = field(default_factory=dict)
    """Relu or Clip behind the product of a layer or behind a sum, by what they read: one quantiser behind both."""
    heads: set[str] = field(default_factory=set)
    """Outputs of Conv layers that only float operators (or nobody) read: their scale may differ from channel to channel."""

    def groups(self) -> dict[str, list[str]]:
        """Members by representative."""
        members: dict[str, list[str]] = {}
        for tensor in sorted(self.tensors):
            members.setdefault(self.group[tensor], []).append(tensor)
        return members


def place(
    graph: Graph,
    layers: Iterable[Layer],
    *,
    encoding: Encoding,
    skip_kinds: frozenset[str] = frozenset(),
    skip_nodes: frozenset[str] = frozenset(),
) -> Placement:
    """Decide it for the whole graph.

    Args:
        graph: normalised.
        layers: those that are to be int8; others stay float.
        encoding: what it is written as.
        skip_kinds: operators between layers that are to stay float.
        skip_nodes: first outputs of single nodes that are to stay float.
    """
    chosen = list(layers)
    # What a MatMul makes stays float: its int8 kernel answers so, and what reads it (softmax, normalisation, a residual sum) is float anyway.
    made_by_layer = {layer.out for layer in chosen if layer.kind != "MatMul"}
    inner = {layer.product: layer for layer in chosen}
    taken = {
        node.output[0]: node
        for node in graph.graph.node
        if node.op_type in (CARRIED | MADE | encoding.made) - encoding.left - skip_kinds
        and node.output[0] not in {layer.out for layer in chosen} | skip_nodes
        and all(graph.is_float(name) for name in node.output if name)
        and _is_plain(graph, node)
    }
    _shrink(graph, taken, made_by_layer, inner, with_float_readers=encoding.everything)
    placement = Placement(encoding=encoding, nodes=set(taken) | set(inner))
    placement.activations = {
        layer.linear: Activation(out=layer.out, high=layer.curve.high) for layer in chosen if layer.out != layer.linear
    } | _behind_sums(graph, taken)
    _collect(graph, placement, chosen, taken)
    _unite(graph, placement, taken)
    placement.heads = {
        layer.out
        for layer in chosen
        if layer.kind == "Conv" and placement.group.get(layer.out) == layer.out and _is_head(graph, placement, layer)
    }
    return placement


def _behind_sums(graph: Graph, taken: dict[str, Any]) -> dict[str, Activation]:
    found = {}
    for first, node in taken.items():
        activation = find_activation(graph, first) if node.op_type == "Add" else None
        if activation is not None and activation.out in taken:
            found[first] = activation
    return found


def far_joins(graph: Graph, placement: Placement, ranges: ChannelRanges) -> frozenset[str]:
    """First outputs of the int8 Concats whose inputs are too different for one scale."""
    far = set()
    for node in graph.graph.node:
        if node.op_type in JOINED and node.output[0] in placement.nodes:
            sizes = [max(-low, high) for low, high in (ranges.range([name]) for name in data_inputs(graph, node))]
            if max(sizes) > FAR_APART * max(min(sizes), 1e-30):
                far.add(node.output[0])
    return frozenset(far)


def data_inputs(graph: Graph, node: Any) -> list[str]:
    """The float tensors that a node computes on; shapes, indices and constants are left out."""
    names = node.input[:1] if node.op_type in CARRIED | {"Clip", "Resize"} else node.input
    return [name for name in names if name and name not in graph.tensors and graph.is_float(name)]


def _is_plain(graph: Graph, node: Any) -> bool:
    """Whether the runtime's int8 kernel covers this use of the operator."""
    if node.op_type in ("Add", "Mul"):
        return len(data_inputs(graph, node)) == 2
    if node.op_type == "Concat":
        return len(data_inputs(graph, node)) == len(node.input)
    if node.op_type == "Resize":
        return bool(attribute(node, "mode", b"nearest") == b"nearest")
    if node.op_type == "MaxPool":
        return len([name for name in node.output if name]) == 1
    if node.op_type == "Split":
        return True
    return bool(data_inputs(graph, node))


def _shrink(
    graph: Graph, taken: dict[str, Any], made_by_layer: set[str], inner: dict[str, Layer], *, with_float_readers: bool
) -> None:
    """Leave out, until nothing changes, what has a float source or (unless they may have) only float readers."""
    while True:
        outputs = {name for node in taken.values() for name in node.output}
        sources = outputs | made_by_layer | set(graph.inputs)
        wrong = [
            first
            for first, node in taken.items()
            if not all(name in sources for name in data_inputs(graph, node))
            or not (
                with_float_readers
                or any(
                    _is_int8_reader(reader, taken, inner)
                    for name in node.output
                    for reader in graph.consumers.get(name, [])
                )
            )
        ]
        if not wrong:
            return
        for first in wrong:
            del taken[first]


def _is_int8_reader(reader: Any, taken: dict[str, Any], inner: dict[str, Layer]) -> bool:
    return reader.output[0] in taken or reader.output[0] in inner


def _collect(graph: Graph, placement: Placement, layers: list[Layer], taken: dict[str, Any]) -> None:
    encoding = placement.encoding
    for layer in layers:
        placement.tensors.add(layer.source)
        fed = any(reader.output[0] in placement.nodes for reader in graph.consumers.get(layer.out, []))
        # ONNX Runtime runs a Conv in int8 only when its answer is quantised; a Gemm answers in float as well.
        answers = layer.kind == "Conv" and not encoding.float_answers
        if answers or (layer.kind != "MatMul" and (fed or encoding.everything)):
            placement.tensors.add(layer.out)
    for node in taken.values():
        placement.tensors.update(data_inputs(graph, node))
        placement.tensors.update(name for name in node.output if name)
    placement.tensors -= placement.activations.keys()


def _unite(graph: Graph, placement: Placement, taken: dict[str, Any]) -> None:
    leader = {name: name for name in placement.tensors}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for node in taken.values():
        if node.op_type in CARRIED | JOINED | {"Resize"}:
            members = [*data_inputs(graph, node), *(name for name in node.output if name)]
            for other in members[1:]:
                leader[find(other)] = find(members[0])
    placement.group = {name: find(name) for name in placement.tensors}


def _is_head(graph: Graph, placement: Placement, layer: Layer) -> bool:
    """Some float operators become a table of codes when a quantiser comes behind them, and the runtime's tables take one scale only."""
    readers = graph.consumers.get(layer.out, [])
    return placement.encoding.foreign is None and not any(
        reader.op_type in TABLED or name in placement.nodes or name in placement.tensors
        for reader in readers
        for name in reader.output
    )
