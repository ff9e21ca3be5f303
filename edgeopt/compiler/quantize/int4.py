"""Weights in 4 bits, arithmetic in float or in int8 as the runtime sees fit: MatMulNBits of the domain com.microsoft. Child side.

A matrix [K, N] is cut into blocks of 32 along K, each with a scale of its own and codes 0..15 that stand for -8..7 times the scale. Two codes share a byte, the first in its
lower half; the last block is filled with zeros (onnxruntime/docs/ContribOperators.md, com.microsoft.MatMulNBits).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array, Graph, attribute

BLOCK = 32
ZERO = 8
DOMAIN = "com.microsoft"

LEAST_ROWS = BLOCK
LEAST_VALUES = 4096
"""Smaller matrices save a few kB and cost a slower kernel."""

SHARES = np.linspace(1.0, 0.6, 17)
"""Of the scale that keeps the largest value; what is tried before least squares."""


def pack_products(model: Any, *, accuracy_level: int) -> dict[str, int]:
    """Change every product by a large constant matrix in place, in the main graph; bytes saved, by node.

    Args:
        model: float32.
        accuracy_level: 1: the runtime computes in float32; 4: it rounds activations to int8, block by block, while running.
    """
    import onnx

    graph = Graph(model)
    saved: dict[str, int] = {}
    packed: dict[tuple[str, bool], tuple[str, str]] = {}
    nodes = []
    for node in graph.graph.node:
        weight = _matrix(graph, node)
        if weight is None:
            nodes.append(node)
            continue
        key = (node.input[1], _is_transposed(node))
        if key not in packed:
            codes, scales = block_codes(weight)
            packed[key] = (
                graph.add_constant(f"{node.input[1]}_int4", pack(codes)),
                graph.add_constant(f"{node.input[1]}_scales", scales),
            )
            saved[node.name or node.output[0]] = weight.nbytes - codes.size // 2 - scales.nbytes
        nodes += _packed(graph, node, weight.shape, packed[key], accuracy_level)
    if saved:
        if all(opset.domain != DOMAIN for opset in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
        graph.replace_nodes(nodes)
        graph.prune()
    return saved


def block_codes(weight: Array) -> tuple[Array, Array]:
    """The codes and scales of least squared error that a search finds. weight [N, K] -> codes uint8 [N, blocks, 32], scales float32 [N, blocks].

    The value of largest size becomes -8, so a scale may be negative; then smaller scales are tried, each moved to its least-squares value.
    """
    outputs, inputs = weight.shape
    blocks = -(-inputs // BLOCK)
    padded = np.zeros((outputs, blocks * BLOCK), np.float32)
    padded[:, :inputs] = weight
    values = padded.reshape(outputs, blocks, BLOCK)
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=2)[..., None], axis=2)
    best_error = np.full((outputs, blocks, 1), np.inf, np.float32)
    best_scale, best = np.ones_like(best_error), np.zeros_like(values)
    for share in SHARES:
        first = _nonzero(extreme * np.float32(-share / ZERO))
        whole = _whole(values, first)
        scale = _nonzero(
            (values * whole).sum(axis=2, keepdims=True) / np.maximum(np.square(whole).sum(axis=2, keepdims=True), 1)
        )
        whole = _whole(values, scale)
        error = np.square(values - whole * scale).sum(axis=2, keepdims=True)
        better = error < best_error
        best_error, best_scale, best = (
            np.where(better, *pair) for pair in ((error, best_error), (scale, best_scale), (whole, best))
        )
    return (best + ZERO).astype(np.uint8), best_scale[..., 0].astype(np.float32)


def pack(codes: Array) -> Array:
    """Codes [N, blocks, 32] to bytes [N, blocks, 16]."""
    return np.asarray(codes[..., 0::2] | (codes[..., 1::2] << 4), np.uint8)


def _whole(values: Array, scale: Array) -> Array:
    return np.asarray(np.clip(np.rint(values / scale), -ZERO, ZERO - 1), np.float32)


def _nonzero(scale: Array) -> Array:
    return np.asarray(np.where(np.abs(scale) < 1e-30, 1.0, scale), np.float32)


def _is_transposed(node: Any) -> bool:
    """Whether the matrix is stored as [N, K]."""
    return node.op_type == "Gemm" and bool(attribute(node, "transB", 0))


def _matrix(graph: Graph, node: Any) -> Array | None:
    """The constant matrix of a product as [N, K]; None for all that is no such product, or scales it."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain or node.input[1] not in graph.tensors:
        return None
    dims = graph.tensors[node.input[1]].dims
    if (
        len(dims) != 2
        or not graph.is_float(node.input[1])
        or not graph.is_float(node.input[0])
        or attribute(node, "transA", 0)
    ):
        return None
    weight = graph.constant(node.input[1])
    if weight is None or weight.size < LEAST_VALUES:
        return None
    rows = weight if _is_transposed(node) else weight.T
    if rows.shape[1] < LEAST_ROWS or attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
        return None
    return np.asarray(rows, np.float32)


def _packed(graph: Graph, node: Any, shape: tuple[int, ...], names: tuple[str, str], level: int) -> list[Any]:
    """MatMulNBits, and the Add of a Gemm's third operand."""
    import onnx

    biased = node.op_type == "Gemm" and len(node.input) > 2 and bool(node.input[2])
    product = graph.fresh(node.output[0]) if biased else node.output[0]
    made = onnx.helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        [product],
        name=node.name,
        domain=DOMAIN,
        K=shape[1],
        N=shape[0],
        bits=4,
        block_size=BLOCK,
        accuracy_level=level,
    )
    if not biased:
        return [made]
    return [made, onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=product)]
