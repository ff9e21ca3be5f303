"""Operators that TFLite lacks in terms of those that it has, and patterns that it has an operator for. Works on the network, before anything is lowered.

Ours besides ONNX's: `Dense` (inputs: x, a constant [O, K], a bias or nothing), `Relu6`, `ReluN1To1`, `Rsqrt`, `Square`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeopt.compiler.convert.tflite import curves, forms, norms
from edgeopt.compiler.convert.tflite.network import Network, Node, Rewrite
from edgeopt.compiler.convert.tflite.patterns import biases, fuse, products

EXPANSIONS: Mapping[str, Rewrite] = MappingProxyType({**forms.TABLE, **curves.TABLE, **norms.TABLE})


def rewrite(network: Network) -> None:
    """All of it."""
    network.prune()
    made: list[Node] = []
    for node in network.nodes:
        made += EXPANSIONS[node.kind](network, node) if node.kind in EXPANSIONS else [node]
    network.nodes = made
    biases(network)
    products(network)
    fuse(network)
