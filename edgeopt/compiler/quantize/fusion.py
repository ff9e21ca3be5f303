"""What the runtime really runs in int8: load the file, let it optimise the graph, count. Child side.

ONNX Runtime fuses a product between DequantizeLinear and QuantizeLinear into an integer kernel when its rules allow (onnxruntime/core/optimizer/qdq_transformer); the
rules for ARM can be previewed on x86 (session option `session.qdqisint8allowed`). What is not fused computes in float, between conversions: slower than no int8 at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.islands import float_islands
from edgeopt.compiler.quantize.observe import fused_session
from edgeopt.compiler.runtime import runtime_version
from edgeopt.domain.coverage import FLOAT_PRODUCTS, INTEGER_PRODUCTS, Coverage, Product

FLOAT_ACTIVATIONS = frozenset({"MatMulNBits"})
"""Only their weights are integers, so float around them is no island."""

MARK = "edgeopt_product_"


def coverage(model: Any, scratch: Path) -> Coverage:
    """Load a model under both sets of rules and say what became of its products, and of what lies between them.

    Args:
        model: with shapes that can be inferred.
        scratch: folder for the optimised graphs.

    Raises:
        Exception: of the runtime, when it cannot load the model.
    """
    marked = type(model)()
    marked.CopyFrom(model)
    found = {}
    for number, node in enumerate(marked.graph.node):
        if node.op_type in FLOAT_PRODUCTS | INTEGER_PRODUCTS:
            node.name = f"{MARK}{number}"
            found[number] = node
    optimised = [_optimised(marked, scratch, arm_rules=rules) for rules in (False, True)]
    x86, arm = (_integer_kernels(graph) for graph in optimised)
    sizes = multiply_adds(model)
    products = tuple(_product(model, model.graph.node[number], sizes, number in x86, number in arm) for number in found)
    x86_islands, arm_islands = (float_islands(graph, INTEGER_PRODUCTS - FLOAT_ACTIVATIONS) for graph in optimised)
    return Coverage(
        products=products,
        x86_share=_share(products, arm=False),
        arm_share=_share(products, arm=True),
        x86_islands=x86_islands,
        arm_islands=arm_islands,
        runtime_version=runtime_version(),
    )


def _product(model: Any, node: Any, sizes: Mapping[str, int], x86: bool, arm: bool) -> Product:
    x86, arm = (is_fused or node.op_type in INTEGER_PRODUCTS for is_fused in (x86, arm))
    return Product(
        name=node.name or node.output[0],
        kind=node.op_type,
        multiply_adds=sizes.get(node.output[0]),
        x86=x86,
        arm=arm,
        reason=None if x86 and arm else why_float(model, node),
    )


def _share(products: tuple[Product, ...], *, arm: bool) -> float | None:
    sizes = [product.multiply_adds for product in products]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or sum(known) == 0:
        return None
    return sum(p.multiply_adds or 0 for p in products if (p.arm if arm else p.x86)) / sum(known)


def _optimised(model: Any, scratch: Path, *, arm_rules: bool) -> Any:
    """The graph that the runtime makes of a model."""
    import onnx

    path = scratch / f"optimised-{'arm' if arm_rules else 'x86'}.onnx"
    fused_session(model, arm_rules=arm_rules, dump=path)
    optimised = onnx.load(path, load_external_data=False)
    path.unlink()
    return optimised.graph


def _integer_kernels(graph: Any) -> set[int]:
    """Numbers of the marked products that an optimised graph computes with an integer kernel. A fused kernel is called like its product, with something behind."""
    kernels = (node for node in graph.node if node.op_type in INTEGER_PRODUCTS)
    return {int(mark[1]) for node in kernels if (mark := re.match(rf"{MARK}(\d+)", node.name))}


def multiply_adds(model: Any) -> dict[str, int]:
    """Multiplications for one sample of every Conv and of every product by a constant matrix, by output; those of unknown size are left out."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        v.name: [axis.dim_value for axis in v.type.tensor_type.shape.dim]
        for v in (*graph.value_info, *graph.input, *graph.output)
        if v.type.tensor_type.HasField("shape")
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    sizes = {}
    for node in graph.node:
        weight, result = shapes.get(node.input[1] if len(node.input) > 1 else ""), shapes.get(node.output[0])
        if not weight or result is None:
            continue
        if node.op_type == "Conv" and all(result[2:]):
            sizes[node.output[0]] = int(np.prod(weight) * np.prod(result[2:]))
        elif node.op_type in ("Gemm", "MatMul") and len(weight) == 2:
            rows = [axis for axis in result[:-1] if axis]
            sizes[node.output[0]] = int(np.prod(weight) * np.prod(rows or [1]))
    return sizes


def why_float(model: Any, node: Any) -> str:
    """Why a product does not run in int8, read off the graph around it."""
    makers = {name: other for other in model.graph.node if other.op_type != "Constant" for name in other.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    if node.op_type in ("ConvTranspose", "LSTM", "GRU"):
        return f"the runtime has no static int8 kernel for {node.op_type}"
    data, weight = (makers.get(name) for name in node.input[:2])
    if weight is None and node.input[1] not in constants:
        return "its second factor is computed, or comes from outside"
    if weight is not None and weight.op_type != "DequantizeLinear":
        return "both of its factors are computed while running"
    if weight is None:
        return "its weights are float: it was left so, or nothing around it is int8"
    if data is None or data.op_type != "DequantizeLinear":
        return "its input is float"
    return "the runtime's rules do not fuse it: its input or answer is quantised in a way that has no kernel"
