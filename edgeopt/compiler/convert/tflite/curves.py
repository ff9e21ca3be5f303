"""Functions of single values in terms of those that TFLite has."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.network import Array, Network, Node, Rewrite, node_like

CLIPS: Mapping[tuple[float | None, float | None], str] = MappingProxyType(
    {(0.0, 6.0): "Relu6", (-1.0, 1.0): "ReluN1To1", (0.0, inf): "Relu", (0.0, None): "Relu"}
)


def _single(values: list[float]) -> Array:
    return np.asarray(values, np.float32)


def _clip(network: Network, node: Node) -> list[Node]:
    """Bounds as attributes, the usual ones as operators."""
    bounds = [_bound(network, node, place, name) for place, name in ((1, "min"), (2, "max"))]
    kind = CLIPS.get((bounds[0], bounds[1])) if network.dtypes[node.inputs[0]] == "float32" else None
    attributes = (
        {} if kind else {name: bound for name, bound in zip(("min", "max"), bounds, strict=True) if bound is not None}
    )
    return [
        Node(kind=kind or "Clip", name=node.name, inputs=node.inputs[:1], outputs=node.outputs, attributes=attributes)
    ]


def _bound(network: Network, node: Node, place: int, name: str) -> float | None:
    if name in node.attributes:
        return float(node.attributes[name])
    if len(node.inputs) <= place or not node.inputs[place]:
        return None
    value = network.value(node.inputs[place])
    if value is None:
        raise node.refuse("its bounds depend on the model's inputs")
    return float(value.reshape(-1)[0])


def _hard_sigmoid(network: Network, node: Node) -> list[Node]:
    """HardSigmoid, clip(alpha x + beta, 0, 1) as Relu6(6 alpha x + 6 beta) / 6."""
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    wanted, source = node.outputs[0], node.inputs[0]
    scaled, moved, cut = (network.like(wanted, wanted) for _ in range(3))
    factor, offset, sixth = (network.add(wanted, _single([value])) for value in (6 * alpha, 6 * beta, 1 / 6))
    nodes = [] if abs(6 * alpha - 1) < 1e-6 else [node_like("Mul", node, [source, factor], scaled)]
    return [
        *nodes,
        node_like("Add", node, [scaled if nodes else source, offset], moved),
        node_like("Relu6", node, [moved], cut),
        node_like("Mul", node, [cut, sixth], wanted),
    ]


def _elu(_network: Network, node: Node) -> list[Node]:
    if float(node.attributes.get("alpha", 1.0)) != 1.0:
        raise node.refuse("its ELU has an alpha of 1")
    return [node]


def _silu(network: Network, node: Node) -> list[Node]:
    """Swish, x sigmoid(alpha x)."""
    wanted, source = node.outputs[0], node.inputs[0]
    gate, scaled = network.like(wanted, wanted), network.like(wanted, wanted)
    alpha = float(node.attributes.get("alpha", 1.0))
    before = [] if alpha == 1.0 else [node_like("Mul", node, [source, network.add(wanted, _single([alpha]))], scaled)]
    return [
        *before,
        node_like("Sigmoid", node, [scaled if before else source], gate),
        node_like("Mul", node, [source, gate], wanted),
    ]


def _softplus(network: Network, node: Node) -> list[Node]:
    """Softplus, log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    wanted, source = node.outputs[0], node.inputs[0]
    size, back, small, more, log, positive = (network.like(wanted, wanted) for _ in range(6))
    one = network.add(wanted, _single([1.0]))
    return [
        node_like("Abs", node, [source], size),
        node_like("Neg", node, [size], back),
        node_like("Exp", node, [back], small),
        node_like("Add", node, [small, one], more),
        node_like("Log", node, [more], log),
        node_like("Relu", node, [source], positive),
        node_like("Add", node, [positive, log], wanted),
    ]


def _reciprocal(network: Network, node: Node) -> list[Node]:
    one = network.add(node.outputs[0], _single([1.0]))
    return [node_like("Div", node, [one, node.inputs[0]], node.outputs[0])]


def _power(network: Network, node: Node) -> list[Node]:
    """The usual powers by operators that are fast."""
    value = network.value(node.inputs[1])
    if value is not None and value.size == 1 and network.shapes[node.inputs[0]] == network.shapes[node.outputs[0]]:
        kind = {2.0: "Square", 0.5: "Sqrt", -0.5: "Rsqrt", 1.0: "Identity"}.get(float(value.reshape(-1)[0]))
        if kind is not None:
            return [node_like(kind, node, node.inputs[:1], node.outputs[0])]
    return [node]


def _norm(network: Network, node: Node) -> list[Node]:
    """ReduceL2 and ReduceSumSquare."""
    squares, wanted = network.like(node.inputs[0], node.inputs[0]), node.outputs[0]
    total = network.like(wanted, wanted) if node.kind == "ReduceL2" else wanted
    nodes = [
        node_like("Square", node, node.inputs[:1], squares),
        Node(
            kind="ReduceSum",
            name=node.name,
            inputs=[squares, *node.inputs[1:]],
            outputs=[total],
            attributes=node.attributes,
        ),
    ]
    return [*nodes, node_like("Sqrt", node, [total], wanted)] if node.kind == "ReduceL2" else nodes


def _mean(network: Network, node: Node) -> list[Node]:
    total, wanted = network.like(node.outputs[0], node.outputs[0]), node.outputs[0]
    share = network.add(wanted, _single([1 / len(node.inputs)]))
    return [node_like("Sum", node, node.inputs, total), node_like("Mul", node, [total, share], wanted)]


TABLE: Mapping[str, Rewrite] = MappingProxyType(
    {
        "Clip": _clip,
        "HardSigmoid": _hard_sigmoid,
        "Elu": _elu,
        "Swish": _silu,
        "Softplus": _softplus,
        "Reciprocal": _reciprocal,
        "Pow": _power,
        "ReduceL2": _norm,
        "ReduceSumSquare": _norm,
        "Mean": _mean,
    }
)
