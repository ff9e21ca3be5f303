"""Patterns of several nodes that TFLite has one operator for: a bias, an activation behind an operator, HardSwish, GELU. They change the network."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np

from edgeopt.compiler.convert.tflite.network import Network, Node

FUSED = {"Relu": "RELU", "Relu6": "RELU6", "ReluN1To1": "RELU_N1_TO_1"}
"""Activations that some operators take along."""

FUSING = frozenset({"Conv", "Dense", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool"})

NEAR = 1e-4
"""Of a constant to the one that a pattern names, which may have gone through float16."""

DEPTH = 3
"""Of products in products that are looked into."""


def biases(network: Network) -> None:
    """A constant that is added behind a product without a bias becomes its bias."""
    readers = network.readers()
    gone: set[int] = set()
    for node in network.nodes:
        if node.kind not in ("Dense", "Conv") or len([name for name in node.inputs if name]) > 2:
            continue
        adder = _only_reader(network, readers, node.outputs[0])
        if adder is None or adder.kind != "Add" or len(adder.inputs) != 2:
            continue
        other = next((name for name in adder.inputs if name != node.outputs[0]), "")
        if _is_bias(network, node, other) and network.shapes[adder.outputs[0]] == network.shapes[node.outputs[0]]:
            node.inputs = [*node.inputs[:2], other]
            node.outputs = adder.outputs
            gone.add(id(adder))
    network.nodes = [node for node in network.nodes if id(node) not in gone]


def _is_bias(network: Network, node: Node, name: str) -> bool:
    """One number for each output channel, and none along other axes."""
    value, rank = network.constants.get(name), len(network.shapes[node.outputs[0]])
    if value is None or name in network.quants or value.dtype != np.float32:
        return False
    shape = (1,) * (rank - value.ndim) + value.shape
    axis = rank - 1 if node.kind == "Dense" else 1
    return len(shape) == rank and all(size == 1 for place, size in enumerate(shape) if place != axis)


def _only_reader(network: Network, readers: Mapping[str, list[Node]], name: str) -> Node | None:
    found = readers.get(name, [])
    return found[0] if len(found) == 1 and name not in network.outputs else None


def products(network: Network) -> None:
    """HardSwish is x relu6(x + 3) / 6, GELU is x (1 + erf(x / sqrt 2)) / 2, in whatever order they are multiplied; another erf TFLite has not."""
    makers = network.producers()
    for node in network.nodes:
        if node.kind in ("Mul", "Div"):
            constant, factors = _factors(network, makers, node, DEPTH)
            if len(factors) == 2:
                _recognise(network, makers, node, constant, factors)
    network.prune()
    for node in network.nodes:
        if node.kind == "Erf":
            raise node.refuse("only as a part of GELU")


def _recognise(
    network: Network, makers: Mapping[str, Node], node: Node, constant: float, factors: tuple[str, ...]
) -> None:
    for source, gate in (factors, factors[::-1]):
        if _near(constant, 1 / 6) and _is_ramp(network, makers, gate, source):
            node.kind, node.inputs = "HardSwish", [source]
            return
        if _near(constant, 1 / 2) and _is_erf(network, makers, gate, source):
            node.kind, node.inputs = "Gelu", [source]
            return


def _factors(network: Network, makers: Mapping[str, Node], node: Node, depth: int) -> tuple[float, tuple[str, ...]]:
    """A product of products as one constant and the tensors that are multiplied."""
    constant = 1.0
    found: list[str] = []
    for place, name in enumerate(node.inputs):
        value, maker = _single(network, name), makers.get(name)
        if value is not None:
            constant = constant / value if node.kind == "Div" and place == 1 and value else constant * value
        elif node.kind == "Div" and place == 1:
            return 0.0, ()
        elif maker is not None and maker.kind in ("Mul", "Div") and depth and maker.activation == "NONE":
            part, more = _factors(network, makers, maker, depth - 1)
            if not more:
                return 0.0, ()
            constant *= part
            found += more
        else:
            found.append(name)
    return constant, tuple(found)


def _is_ramp(network: Network, makers: Mapping[str, Node], name: str, source: str) -> bool:
    """Whether a tensor is relu6(source + 3)."""
    cut = makers.get(name)
    return cut is not None and cut.kind == "Relu6" and _is_moved(network, makers.get(cut.inputs[0]), 3.0) == source


def _is_erf(network: Network, makers: Mapping[str, Node], name: str, source: str) -> bool:
    """Whether a tensor is 1 + erf(source / sqrt 2)."""
    erf = makers.get(_is_moved(network, makers.get(name), 1.0) or "")
    inner = makers.get(erf.inputs[0]) if erf is not None and erf.kind == "Erf" else None
    if inner is None or inner.kind not in ("Mul", "Div"):
        return False
    constant, factors = _factors(network, makers, inner, 0)
    return factors == (source,) and _near(constant, 1 / sqrt(2))


def _is_moved(network: Network, node: Node | None, by: float) -> str | None:
    """What a number is added to."""
    if node is None or node.kind != "Add" or len(node.inputs) != 2:
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        value = _single(network, other)
        if value is not None and _near(value, by):
            return one
    return None


def _single(network: Network, name: str) -> float | None:
    """A constant of one number."""
    value = network.value(name)
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < NEAR


def fuse(network: Network) -> None:
    """Activations go with the operator before them."""
    readers = network.readers()
    gone: set[int] = set()
    for node in network.nodes:
        if (
            node.kind not in FUSING
            or len(node.outputs) != 1
            or network.dtypes[node.outputs[0]] not in ("float32", "int8")
        ):
            continue
        behind = _only_reader(network, readers, node.outputs[0])
        if behind is not None and behind.kind in FUSED and node.activation == "NONE":
            node.activation = FUSED[behind.kind]
            node.outputs = behind.outputs
            gone.add(id(behind))
    network.nodes = [node for node in network.nodes if id(node) not in gone]
