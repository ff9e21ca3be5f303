"""What TFLite's int8 operators ask for (https://ai.google.dev/edge/litert/models/quantization_spec), and the nodes that give it to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.network import Network, Node, Quant, node_like
from edgeopt.compiler.convert.tflite.pooling import counts_alike

MOVERS = frozenset(
    {
        "Reshape",
        "Transpose",
        "Slice",
        "Split",
        "Gather",
        "Pad",
        "MaxPool",
        "Identity",
        "Expand",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
        "Resize",
        "Upsample",
    }
)
"""They answer with values that they were given, so codes keep their scale."""

FULL = 127
"""The largest code of a weight."""


def is_mover(network: Network, node: Node) -> bool:
    """Whether this node only moves values."""
    match node.kind:
        case "Resize" | "Upsample":
            return bytes(node.attributes.get("mode", b"nearest")) == b"nearest"
        case "Pad":
            filler = network.value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
            zero = filler is None or not filler.any()
            return bytes(node.attributes.get("mode", b"constant")) == b"reflect" or (
                zero and not node.attributes.get("value", 0.0)
            )
        case "MaxPool":
            return node.activation == "NONE" and len([name for name in node.outputs if name]) == 1
        case kind:
            return kind in MOVERS


Integer = Callable[[Network, Node, list[str], str], list[Node] | None]


def integer_nodes(network: Network, node: Node, operands: list[str], target: str) -> list[Node] | None:
    """A node on codes.

    Args:
        network: where scales of the operands and of the answer are known.
        node: as it is in float.
        operands: for each of its inputs the codes, or a float bias.
        target: the codes that it is to answer.

    Returns:
        What stands for it, None when it has to stay float.
    """
    form = FORMS.get(node.kind)
    return None if form is None else form(network, node, operands, target)


def _as_it_is(network: Network, node: Node, operands: list[str], target: str) -> list[Node] | None:
    """Any scales, one for each operand."""
    return [_on_codes(node, operands, target)] if _have_one_scale(network, operands) else None


def _have_one_scale(network: Network, operands: list[str]) -> bool:
    return all(name not in network.quants or network.quants[name].scale.size == 1 for name in operands)


def _on_codes(node: Node, operands: list[str], target: str) -> Node:
    return Node(
        kind=node.kind,
        name=node.name,
        inputs=operands,
        outputs=[target],
        attributes=node.attributes,
        activation=node.activation,
    )


def _product(network: Network, node: Node, operands: list[str], target: str) -> list[Node] | None:
    """Weights are constants around 0, with one scale or one for each output channel."""
    weight = operands[1]
    if weight not in network.constants or network.dtypes[weight] != "int8" or network.quants[weight].zero.any():
        return None
    quant = network.quants[weight]
    if quant.scale.size > 1 and quant.axis != (1 if node.kind == "ConvTranspose" else 0):
        return None
    return [_on_codes(node, operands, target)]


def _joined(network: Network, node: Node, operands: list[str], target: str) -> list[Node] | None:
    """Every operand in the answer's scale."""
    if not _have_one_scale(network, operands) or any(name in network.constants for name in operands):
        return None
    nodes: list[Node] = []
    inputs: list[str] = []
    for operand in operands:
        if network.quants[operand].same(network.quants[target]):
            inputs.append(operand)
        else:
            inputs.append(network.like(operand, target, network.shapes[operand]))
            nodes.append(node_like("QuantizeLinear", node, [operand], inputs[-1]))
    return [*nodes, _on_codes(node, inputs, target)]


def _in_own_scale(network: Network, node: Node, operands: list[str], target: str) -> list[Node]:
    """Answers in the operand's scale, then in the wanted one."""
    if network.quants[operands[0]].same(network.quants[target]):
        return [_on_codes(node, operands, target)]
    between = network.like(target, operands[0], network.shapes[target])
    return [_on_codes(node, operands, between), node_like("QuantizeLinear", node, [between], target)]


def _average(network: Network, node: Node, operands: list[str], target: str) -> list[Node] | None:
    """In one scale a pooling; from one scale to another, which is finer as a mean is smaller, a depthwise convolution by equal weights."""
    if network.quants[operands[0]].same(network.quants[target]):
        return [_on_codes(node, operands, target)] if counts_alike(network, node) else None
    pads = node.attributes.get("pads") or [0]
    if (
        any(pads)
        or bytes(node.attributes.get("auto_pad", b"NOTSET")) not in (b"NOTSET", b"VALID")
        or node.attributes.get("ceil_mode")
    ):
        return _in_own_scale(network, node, operands, target) if counts_alike(network, node) else None
    channels, kernel = network.shapes[operands[0]][1], tuple(node.attributes["kernel_shape"])
    weight = network.add(target, np.full((channels, 1, *kernel), FULL, np.int8))
    scale = np.full(1, 1 / (FULL * np.prod(kernel)), np.float32)
    network.quants[weight] = Quant(scale=np.repeat(scale, channels), zero=np.zeros(channels, np.int64))
    attributes = {"group": channels, "strides": node.attributes.get("strides", [1, 1])}
    made = node_like("Conv", node, [operands[0], weight], target, **attributes)
    made.activation = node.activation
    return [made]


def _fixed(scale: float, zero: int) -> Integer:
    def made(network: Network, node: Node, operands: list[str], target: str) -> list[Node]:
        own = Quant(scale=np.asarray([scale], np.float32), zero=np.asarray([zero]))
        if own.same(network.quants[target]):
            return [_on_codes(node, operands, target)]
        between = network.like(target, target)
        network.quants[between] = own
        return [_on_codes(node, operands, between), node_like("QuantizeLinear", node, [between], target)]

    return made


FORMS: Mapping[str, Integer] = MappingProxyType(
    {
        **dict.fromkeys(("Conv", "ConvTranspose", "Dense"), _product),
        **dict.fromkeys(("Add", "Sub", "Mul", "ReduceMean", "LeakyRelu", "HardSwish", "Relu", "Relu6"), _as_it_is),
        "Concat": _joined,
        "Resize": _in_own_scale,
        "AveragePool": _average,
        "Sigmoid": _fixed(1 / 256, -128),
        "Softmax": _fixed(1 / 256, -128),
        "Tanh": _fixed(1 / 128, 0),
    }
)
