"""The layers that int8 is about: Conv and Gemm with constant weights, each with a bias and the activation that fuses into it. Child side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.curve import IDENTITY, Curve, clip_bound, curve_behind
from edgeopt.compiler.quantize.graph import Array, Graph, attribute


@dataclass(kw_only=True, frozen=True)
class Activation:
    """Relu or Clip: what is below 0 becomes 0, what is above `high` becomes `high`; its answer is `out`."""

    out: str
    high: float


@dataclass(kw_only=True)
class Layer:
    """One product with weights, as arrays that may be changed.

    `weight` is [O, I/group, ...] for Conv, [O, K] for Gemm (normalised to transB = 1) and for MatMul (stored as [K, O], on inputs of three axes or more, the channels last).
    `source` is the data input, `product` what the product itself makes, `linear` that with the bias (for MatMul an Add makes it), `out` what the fused activation makes of it
    (`linear` when there is none). `curve` is whatever activation stands behind it, fused or not.
    """

    name: str
    kind: str
    source: str
    product: str
    linear: str
    out: str
    weight: Array
    bias: Array
    group: int = 1
    curve: Curve = IDENTITY

    @property
    def channels(self) -> int:
        """Number of output channels, O."""
        return int(self.weight.shape[0])

    @property
    def fan_in(self) -> int:
        """Number of weights of one output channel."""
        return int(np.prod(self.weight.shape[1:]))

    @property
    def depthwise(self) -> bool:
        """One input channel for each output channel."""
        return self.kind == "Conv" and self.group == self.channels and self.weight.shape[1] == 1


def normalise(graph: Graph, *, pixels: bool = True) -> None:
    """Bring products into the forms that the runtime fuses best: MatMul by a matrix as Gemm, a 1x1 Conv over one pixel as Gemm (with `pixels`), every product with a bias and a name."""
    _products_to_gemm(graph)
    if pixels:
        _pixel_convolutions_to_gemm(graph)
    _biases_for_matmuls(graph)
    _name_and_bias(graph)


def find_layers(graph: Graph) -> list[Layer]:
    """Every layer of the main graph, in order of execution."""
    return [layer for node in graph.graph.node if (layer := _layer(graph, node)) is not None]


def _layer(graph: Graph, node: Any) -> Layer | None:
    if node.op_type == "MatMul":
        return _matmul_layer(graph, node)
    if node.op_type not in ("Conv", "Gemm") or not _has_float_weights(graph, node):
        return None
    weight, bias = graph.constant(node.input[1]), graph.constant(node.input[2])
    if weight is None or bias is None:
        return None
    layer = Layer(
        name=node.name,
        kind=node.op_type,
        source=node.input[0],
        product=node.output[0],
        linear=node.output[0],
        out=node.output[0],
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32).reshape(-1),
        group=int(attribute(node, "group", 1)),
        curve=curve_behind(graph, node.output[0]),
    )
    activation = find_activation(graph, layer.linear)
    if activation is not None:
        layer.out = activation.out
    return layer


def _matmul_layer(graph: Graph, node: Any) -> Layer | None:
    weight, adder = graph.constant(node.input[1]), _bias_of_matmul(graph, node)
    if weight is None or adder is None:
        return None
    return Layer(
        name=node.name,
        kind="MatMul",
        source=node.input[0],
        product=node.output[0],
        linear=adder.output[0],
        out=adder.output[0],
        weight=np.ascontiguousarray(weight.T.astype(np.float32)),
        bias=np.asarray(graph.constant(adder.input[1]), np.float32).reshape(-1),
        curve=curve_behind(graph, adder.output[0]),
    )


def find_activation(graph: Graph, tensor: str) -> Activation | None:
    """The Relu or Clip from 0 that is the only reader of a tensor."""
    reader = graph.only_consumer(tensor)
    if reader is None:
        return None
    if reader.op_type == "Relu":
        return Activation(out=reader.output[0], high=np.inf)
    if reader.op_type == "Clip":
        low, high = (clip_bound(graph, reader, position) for position in (1, 2))
        if low == 0.0 and high is not None:
            return Activation(out=reader.output[0], high=high)
    return None


def _has_float_weights(graph: Graph, node: Any) -> bool:
    return len(node.input) == 3 and graph.is_float(node.input[1]) and graph.is_float(node.input[0])


def _products_to_gemm(graph: Graph) -> None:
    """MatMul [N, K] by a constant [K, M], with the Add of a constant [M] behind it; and Gemm with alpha = beta = 1, transB = 1."""
    import onnx

    dropped: set[str] = set()
    nodes = []
    for node in graph.graph.node:
        if node.output[0] in dropped and node.op_type == "Add":
            continue
        if node.op_type == "MatMul" and _is_matrix_product(graph, node):
            nodes.append(_gemm_of_matmul(graph, node, dropped, onnx))
        elif node.op_type == "Gemm":
            nodes.append(_plain_gemm(graph, node, onnx))
        else:
            nodes.append(node)
    graph.replace_nodes(nodes)


def _is_matrix_product(graph: Graph, node: Any) -> bool:
    weight = graph.tensors.get(node.input[1])
    return (
        weight is not None
        and len(weight.dims) == 2
        and graph.is_float(node.input[1])
        and graph.rank(node.input[0]) == 2
        and node.input[0] not in graph.tensors
    )


def _gemm_of_matmul(graph: Graph, node: Any, dropped: set[str], onnx: Any) -> Any:
    weight = _need(graph, node.input[1])
    bias, output = np.zeros(weight.shape[1], np.float32), node.output[0]
    reader = graph.only_consumer(output)
    if reader is not None and reader.op_type == "Add":
        other = reader.input[1] if reader.input[0] == output else reader.input[0]
        value = graph.constant(other)
        if (
            value is not None
            and value.size == weight.shape[1]
            and value.shape[-1] == weight.shape[1]
            and value.ndim <= 2
        ):
            bias, output = value.reshape(-1), reader.output[0]
            dropped.add(output)
    names = [graph.add_constant(node.input[1], weight.T), graph.add_constant(output, bias)]
    return onnx.helper.make_node("Gemm", [node.input[0], *names], [output], name=node.name, transB=1)


def _plain_gemm(graph: Graph, node: Any, onnx: Any) -> Any:
    """Gemm with alpha = beta = 1, transB = 1 and a bias [M]; as it is where its operands are no such constants."""
    weight, bias = graph.constant(node.input[1]), _gemm_bias(graph, node)
    if weight is None or bias is None or weight.dtype != np.float32 or attribute(node, "transA", 0):
        return node
    weight = weight if attribute(node, "transB", 0) else weight.T
    if bias.size not in (1, weight.shape[0]):
        return node
    flat = np.broadcast_to(bias.reshape(-1), (weight.shape[0],))
    names = [
        graph.add_constant(node.input[1], (weight * attribute(node, "alpha", 1.0)).astype(np.float32)),
        graph.add_constant(node.output[0], (flat * attribute(node, "beta", 1.0)).astype(np.float32)),
    ]
    return onnx.helper.make_node("Gemm", [node.input[0], *names], [node.output[0]], name=node.name, transB=1)


def _gemm_bias(graph: Graph, node: Any) -> Array | None:
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(1, np.float32)
    return graph.constant(node.input[2])


def _pixel_convolutions_to_gemm(graph: Graph) -> None:
    """A Conv whose input is one pixel is a matrix product; as a Gemm its answer need not be quantised."""
    import onnx

    nodes = []
    for node in graph.graph.node:
        if node.op_type == "Conv" and _sees_one_pixel(graph, node):
            nodes += _gemm_of_convolution(graph, node, onnx)
        else:
            nodes.append(node)
    graph.replace_nodes(nodes)


def _sees_one_pixel(graph: Graph, node: Any) -> bool:
    shape, result = graph.shape(node.input[0]), graph.shape(node.output[0])
    weight = graph.tensors.get(node.input[1])
    return (
        shape is not None
        and result is not None
        and len(shape) == 4
        and shape[2:] == (1, 1)
        and result[2:] == (1, 1)
        and weight is not None
        and tuple(weight.dims[2:]) == (1, 1)
        and graph.is_float(node.input[1])
        and attribute(node, "group", 1) == 1
        and not any(attribute(node, "pads", [0]))
    )


def _gemm_of_convolution(graph: Graph, node: Any, onnx: Any) -> list[Any]:
    weight = _need(graph, node.input[1])
    bias = (
        _need(graph, node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(weight.shape[0], np.float32)
    )
    flat, product = graph.fresh(node.input[0]), graph.fresh(node.output[0])
    shape = graph.add_constant("shape", np.array([-1, weight.shape[0], 1, 1], np.int64))
    names = [
        graph.add_constant(node.input[1], weight.reshape(weight.shape[0], -1)),
        graph.add_constant(node.output[0], bias),
    ]
    return [
        onnx.helper.make_node("Flatten", [node.input[0]], [flat], axis=1),
        onnx.helper.make_node("Gemm", [flat, *names], [product], name=node.name, transB=1),
        onnx.helper.make_node("Reshape", [product, shape], list(node.output)),
    ]


def _biases_for_matmuls(graph: Graph) -> None:
    """Behind every MatMul by a constant matrix an Add of a constant vector, which bias correction can change."""
    import onnx

    nodes = []
    for node in graph.graph.node:
        if node.op_type == "MatMul" and _is_product_by_matrix(graph, node) and _bias_of_matmul(graph, node) is None:
            product = graph.fresh(node.output[0])
            zeros = graph.add_constant(product, np.zeros(graph.tensors[node.input[1]].dims[1], np.float32))
            nodes.append(onnx.helper.make_node("MatMul", list(node.input), [product], name=node.name))
            nodes.append(onnx.helper.make_node("Add", [product, zeros], list(node.output), name=product))
        else:
            nodes.append(node)
    graph.replace_nodes(nodes)


def _is_product_by_matrix(graph: Graph, node: Any) -> bool:
    weight = graph.tensors.get(node.input[1])
    return (
        weight is not None
        and len(weight.dims) == 2
        and graph.is_float(node.input[1])
        and (graph.rank(node.input[0]) or 0) >= 3
    )


def _bias_of_matmul(graph: Graph, node: Any) -> Any | None:
    """The Add of a constant vector that alone reads a MatMul by a constant matrix; None when there is none. Its operands are put in order."""
    reader = graph.only_consumer(node.output[0])
    if reader is None or reader.op_type != "Add" or not _is_product_by_matrix(graph, node):
        return None
    if reader.input[0] != node.output[0]:
        reader.input[0], reader.input[1] = reader.input[1], reader.input[0]
    bias = graph.tensors.get(reader.input[1])
    channels = graph.tensors[node.input[1]].dims[1]
    return reader if bias is not None and list(bias.dims) == [channels] else None


def _name_and_bias(graph: Graph) -> None:
    """A bias where there is none, weights of its own for each layer, and a name that no other has."""
    seen: set[str] = set()
    for number, node in enumerate(graph.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        while node.name in seen:
            node.name += "_"
        seen.add(node.name)
        if node.op_type != "Conv" or node.input[1] not in graph.tensors or not graph.is_float(node.input[1]):
            continue
        if len(node.input) == 2 or not node.input[2]:
            channels = graph.tensors[node.input[1]].dims[0]
            inputs = [*node.input[:2], graph.add_constant(f"{node.name}_bias", np.zeros(channels, np.float32))]
            del node.input[:]
            node.input.extend(inputs)
    graph.index()


def _need(graph: Graph, name: str) -> Array:
    value = graph.constant(name)
    if value is None:
        raise KeyError(name)
    return value


def write_back(graph: Graph, layers: list[Layer]) -> None:
    """Put the layers' weights and biases into the float graph, each layer its own."""
    for layer in layers:
        node, is_matmul = graph.producer[layer.product], layer.kind == "MatMul"
        node.input[1] = graph.add_constant(f"{layer.name}_weight", layer.weight.T if is_matmul else layer.weight)
        adder, position = (graph.producer[layer.linear], 1) if is_matmul else (node, 2)
        adder.input[position] = graph.add_constant(f"{layer.name}_bias", layer.bias)
    graph.prune()
