"""Operators that are others written differently: axes, matrix products, windows along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.network import Network, Node, Quant, Rewrite, node_like


def _reshape(_network: Network, node: Node) -> list[Node]:
    """Flatten, Squeeze, Unsqueeze: their answer's shape is known."""
    return [Node(kind="Reshape", name=node.name, inputs=node.inputs[:1], outputs=node.outputs)]


def _identity(_network: Network, node: Node) -> list[Node]:
    return [Node(kind="Identity", name=node.name, inputs=node.inputs[:1], outputs=node.outputs[:1])]


def _global(kind: str) -> Rewrite:
    def pooled(network: Network, node: Node) -> list[Node]:
        axes = list(range(2, len(network.shapes[node.inputs[0]])))
        return [Node(kind=kind, name=node.name, inputs=node.inputs, outputs=node.outputs, attributes={"axes": axes})]

    return pooled


def _matmul(network: Network, node: Node) -> list[Node]:
    """By a constant matrix: `Dense`."""
    weight = network.constants.get(node.inputs[1])
    if weight is None or weight.ndim != 2 or node.inputs[0] in network.constants:
        return [node]
    name = _turned(network, node.inputs[1])
    return [node_like("Dense", node, [node.inputs[0], name], node.outputs[0])]


def _turned(network: Network, name: str) -> str:
    """The same matrix [O, K] of one that is [K, O]."""
    made = network.add(name, np.ascontiguousarray(network.constants[name].T))
    if name in network.quants:
        quant = network.quants[name]
        network.quants[made] = Quant(scale=quant.scale, zero=quant.zero, axis=1 - quant.axis)
    return made


def _gemm(network: Network, node: Node) -> list[Node]:
    """Gemm, alpha A B + beta C, by a constant B: `Dense`."""
    if node.inputs[1] not in network.constants or node.attributes.get("transA", 0):
        return _computed_gemm(network, node)
    turned = node.inputs[1] if node.attributes.get("transB", 0) else _turned(network, node.inputs[1])
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))
    if alpha != 1.0:
        turned = network.add(turned, (np.asarray(network.value(turned)) * alpha).astype(np.float32))
    offset = node.inputs[2] if len(node.inputs) > 2 else ""
    if offset and beta != 1.0:
        offset = network.add(offset, (np.asarray(network.value(offset)) * beta).astype(np.float32))
    rows = network.shapes[turned][0]
    fits = not offset or (
        offset in network.constants and network.shapes[offset] in ((rows,), (1, rows), (1,), (), (1, 1))
    )
    if fits:
        return [node_like("Dense", node, [node.inputs[0], turned, *([offset] if offset else [])], node.outputs[0])]
    between = network.like(node.outputs[0], node.outputs[0])
    return [
        node_like("Dense", node, [node.inputs[0], turned], between),
        node_like("Add", node, [between, offset], node.outputs[0]),
    ]


def _computed_gemm(network: Network, node: Node) -> list[Node]:
    """The same of matrices that are computed: products, sums and turns by themselves."""
    nodes: list[Node] = []
    factors = []
    for name, turned in zip(node.inputs[:2], ("transA", "transB"), strict=True):
        if node.attributes.get(turned, 0):
            factors.append(network.like(name, name, network.shapes[name][::-1]))
            nodes.append(node_like("Transpose", node, [name], factors[-1], perm=[1, 0]))
        else:
            factors.append(name)
    name = ""
    for kind, inputs in (("MatMul", factors), *_scaled(network, node)):
        wanted = network.like(node.outputs[0], node.outputs[0])
        nodes.append(node_like(kind, node, [*([name] if name else []), *inputs], wanted))
        name = wanted
    nodes[-1].outputs = list(node.outputs)
    return nodes


def _scaled(network: Network, node: Node) -> list[tuple[str, list[str]]]:
    """What comes behind the product: times alpha, plus beta times the third operand."""
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))
    behind = [] if alpha == 1.0 else [("Mul", [network.add("alpha", np.asarray([alpha], np.float32))])]
    offset = node.inputs[2] if len(node.inputs) > 2 else ""
    if not offset:
        return behind
    value = network.value(offset)
    if beta == 1.0 or value is None:
        if beta != 1.0:
            raise node.refuse("its beta is 1 where what is added depends on the model's inputs")
        return [*behind, ("Add", [offset])]
    return [*behind, ("Add", [network.add(offset, (value * beta).astype(np.float32))])]


def _two_axes(network: Network, node: Node) -> list[Node]:
    """A window along one axis as one along two, of which the first is 1."""
    shape = network.shapes[node.inputs[0]]
    if len(shape) == 4:
        return [node]
    if len(shape) != 3:
        raise node.refuse(f"its windows go along one axis or two, not {len(shape) - 2}")
    wide, made = (
        network.like(name, name, _widened(network.shapes[name])) for name in (node.inputs[0], node.outputs[0])
    )
    inputs = [wide, *node.inputs[1:]]
    if len(inputs) > 1:
        inputs[1] = _wide_weight(network, inputs[1])
    attributes = dict(node.attributes)
    for name in ("kernel_shape", "strides", "dilations"):
        if name in attributes:
            attributes[name] = [1, *attributes[name]]
    if "pads" in attributes:
        attributes["pads"] = [0, attributes["pads"][0], 0, attributes["pads"][1]]
    attributes.pop("output_shape", None)
    return [
        node_like("Reshape", node, [node.inputs[0]], wide),
        Node(kind=node.kind, name=node.name, inputs=inputs, outputs=[made], attributes=attributes),
        node_like("Reshape", node, [made], node.outputs[0]),
    ]


def _average(network: Network, node: Node) -> list[Node]:
    """A window over everything is a mean."""
    shape, kernel = network.shapes[node.inputs[0]], tuple(node.attributes["kernel_shape"])
    if (
        shape[2:] == kernel
        and network.shapes[node.outputs[0]][2:] == (1,) * len(kernel)
        and not any(node.attributes.get("pads", ()))
    ):
        return _global("ReduceMean")(network, node)
    return _two_axes(network, node)


def _wide_weight(network: Network, name: str) -> str:
    if name not in network.constants:
        return name
    made = network.add(name, network.constants[name][:, :, None, :])
    if name in network.quants:
        network.quants[made] = network.quants[name]
    return made


def _widened(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], 1, *shape[2:])


def _depth_first(network: Network, node: Node) -> list[Node]:
    """DepthToSpace in the order CRD: by axes of their own."""
    if bytes(node.attributes.get("mode", b"DCR")) == b"DCR":
        return [node]
    batch, channels, height, width = network.shapes[node.inputs[0]]
    block, source = int(node.attributes["blocksize"]), node.inputs[0]
    inner = channels // block**2
    apart = network.like(source, source, (batch, inner, block, block, height, width))
    moved = network.like(source, source, (batch, inner, height, block, width, block))
    return [
        node_like("Reshape", node, [source], apart),
        node_like("Transpose", node, [apart], moved, perm=[0, 1, 4, 2, 5, 3]),
        node_like("Reshape", node, [moved], node.outputs[0]),
    ]


TABLE: Mapping[str, Rewrite] = MappingProxyType(
    {
        **dict.fromkeys(("Flatten", "Squeeze", "Unsqueeze", "Reshape"), _reshape),
        "Dropout": _identity,
        "GlobalAveragePool": _global("ReduceMean"),
        "GlobalMaxPool": _global("ReduceMax"),
        "MatMul": _matmul,
        "Gemm": _gemm,
        **dict.fromkeys(("Conv", "ConvTranspose", "MaxPool"), _two_axes),
        "AveragePool": _average,
        "DepthToSpace": _depth_first,
    }
)
