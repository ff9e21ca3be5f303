"""Look-up tables (embeddings) in int8, one scale for each row. Child side.

    Gather float [V, D]  ->  Gather int8 [V, D], Cast, Mul by Gather float [V, 1]

What is gathered becomes float, never the table: a DequantizeLinear on the table itself would be folded into a float table when the file is loaded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array, Graph, attribute

LEAST_BYTES = 64 << 10
"""Of a float table: smaller ones are not worth two more operators."""

LIMIT = 127


def shrink_tables(model: Any) -> dict[str, int]:
    """Change `model` in place; bytes saved, by table."""
    graph = Graph(model)
    saved = {}
    for name in [tensor.name for tensor in graph.graph.initializer]:
        if _is_table(graph, name):
            saved[name] = _shrink(graph, name)
    graph.prune()
    return saved


def row_codes(table: Array) -> tuple[Array, Array]:
    """(codes int8 [V, D], scales float32 [V, 1]): the largest value of each row is 127."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / LIMIT, np.finfo(np.float32).tiny)
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)


def _is_table(graph: Graph, name: str) -> bool:
    """A large float matrix that is looked up by row and not used otherwise."""
    tensor, readers = graph.tensors[name], graph.consumers.get(name, [])
    return (
        graph.is_float(name)
        and len(tensor.dims) == 2
        and tensor.dims[1] > 1
        and 4 * int(np.prod(tensor.dims)) >= LEAST_BYTES
        and name not in graph.outputs
        and bool(readers)
        and all(_looks_up(graph, node, name) for node in readers)
    )


def _looks_up(graph: Graph, node: Any, name: str) -> bool:
    return (
        node.op_type == "Gather"
        and node.input[0] == name
        and attribute(node, "axis", 0) in (0, -2)
        and node.input[1] not in graph.tensors
    )


def _shrink(graph: Graph, name: str) -> int:
    import onnx

    table = graph.constant(name)
    if table is None:
        return 0
    codes, scales = row_codes(table)
    codes_name, scales_name = graph.add_constant(f"{name}_codes", codes), graph.add_constant(f"{name}_scales", scales)
    make, nodes = onnx.helper.make_node, []
    for node in graph.graph.node:
        if name not in node.input:
            nodes.append(node)
            continue
        rows, steps, wide = (graph.fresh(node.output[0]) for _ in range(3))
        nodes += [
            make("Gather", [codes_name, node.input[1]], [rows], name=rows, axis=0),
            make("Gather", [scales_name, node.input[1]], [steps], name=steps, axis=0),
            make("Cast", [rows], [wide], name=wide, to=onnx.TensorProto.FLOAT),
            make("Mul", [wide, steps], list(node.output), name=node.name),
        ]
    graph.replace_nodes(nodes)
    return table.nbytes - codes.nbytes - scales.nbytes
