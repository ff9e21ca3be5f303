"""How much one inference computes and moves, counted from the graph. Child side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from edgeopt.compiler.refuse import Refused

LARGE = 1024
"""Entries of a constant from which on its values cannot matter to a shape; they are left out of what the shape inference is given."""
UNKNOWN_PRODUCTS = frozenset({"Einsum", "Attention", "MultiHeadAttention", "GroupQueryAttention", "DeformConv"})
"""They multiply, and no count of theirs is known here."""

MOST = 1 << 53
"""What JSON carries exactly."""

Shape = tuple[int, ...]


class Costs(NamedTuple):
    """Of one inference, batch 1. Multiply-accumulates of products, and the entries that products write; None with the reason."""

    macs: int | None
    activations: int | None
    reason: str | None


def count_costs(model: Any) -> Costs:
    """Count the products of the main graph, a leading axis that is not fixed taken as 1.

    Args:
        model: an ONNX model with everything that its shapes depend on; it is not changed.
    """
    try:
        nodes, shapes = _inferred(model)
        counted = [_product(node, shapes) for node in nodes]
    except Refused as refused:
        return Costs(None, None, str(refused))
    except IndexError:
        return Costs(None, None, "a product has inputs of another rank than it should have")
    macs, activations = sum(cost for cost, _ in counted), sum(written for _, written in counted)
    if max(macs, activations) > MOST:
        return Costs(None, None, "its shapes multiply to more than any device computes")
    return Costs(macs, activations, None)


def _inferred(model: Any) -> tuple[Any, dict[str, Shape]]:
    """Return the nodes of the main graph and the shapes by name."""
    import onnx

    unfixed = _unfixed_input(model)
    if unfixed is not None:
        raise Refused("cost", f"the input {unfixed!r} has axes without a fixed size besides the batch")
    for node in model.graph.node:
        if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
            raise Refused("cost", f"it has control flow ({node.op_type}), whose bodies run as often as data says")
    try:
        inferred = onnx.shape_inference.infer_shapes(_shell(model), data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        said = f"{error}".strip().split("\n", 1)[0][:200]
        raise Refused("cost", f"its shapes could not be inferred: {said}") from error
    return inferred.graph.node, _shapes(inferred.graph)


def _product(node: Any, shapes: Mapping[str, Shape]) -> tuple[int, int]:
    """Return (multiply-accumulates, entries written) of a node; (0, 0) of what does not multiply matrices."""
    if node.op_type in UNKNOWN_PRODUCTS:
        raise Refused("cost", f"how much {node.op_type} computes is not known")
    rule = _RULES.get(node.op_type)
    if rule is None:
        return 0, 0
    written = prod(_shape(node.output[0], node, shapes))
    return rule(node, shapes, written), written


def _shape(name: str, node: Any, shapes: Mapping[str, Shape]) -> Shape:
    if name not in shapes:
        raise Refused("cost", f"the shape of {name[:60]!r} at {node.op_type} {node.name[:60]!r} could not be inferred")
    return shapes[name]


def _conv(weights: int) -> Callable[[Any, Mapping[str, Shape], int], int]:
    """Every entry written is a sum over the filter behind it: weights are (out, in per group, kernel...)."""
    return lambda node, shapes, written: written * prod(_shape(node.input[weights], node, shapes)[1:])


def _transposed(node: Any, shapes: Mapping[str, Shape], _written: int) -> int:
    """Every entry read is spread by a filter: weights are (in, out per group, kernel...)."""
    return prod(_shape(node.input[0], node, shapes)) * prod(_shape(node.input[1], node, shapes)[1:])


def _matmul(node: Any, shapes: Mapping[str, Shape], written: int) -> int:
    return written * (_shape(node.input[0], node, shapes)[-1:] or (1,))[0]


def _gemm(node: Any, shapes: Mapping[str, Shape], written: int) -> int:
    rows_first = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return written * _shape(node.input[0], node, shapes)[0 if rows_first else 1]


def _recurrent(node: Any, shapes: Mapping[str, Shape], _written: int) -> int:
    """Both matrices once for every step and sequence."""
    steps, batch = _shape(node.input[0], node, shapes)[:2]
    return steps * batch * sum(prod(_shape(name, node, shapes)) for name in node.input[1:3])


_RULES: dict[str, Callable[[Any, Mapping[str, Shape], int], int]] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "FusedConv": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _transposed,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "MatMulNBits": _matmul,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}


def _unfixed_input(model: Any) -> str | None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and any(not dim.HasField("dim_value") for dim in dims[1:]):
            return str(value.name)
    return None


def _shell(model: Any) -> Any:
    """Return the model with batch 1 and without the values of large constants: no shape depends on them, and they need not be copied."""
    import onnx

    shell = onnx.ModelProto()
    shell.ir_version = model.ir_version
    shell.opset_import.extend(model.opset_import)
    shell.functions.extend(model.functions)
    shell.graph.name = model.graph.name
    shell.graph.node.extend(model.graph.node)
    shell.graph.input.extend(model.graph.input)
    shell.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) < LARGE and tensor.data_location != onnx.TensorProto.EXTERNAL:
            shell.graph.initializer.append(tensor)
        elif tensor.name not in {value.name for value in shell.graph.input}:
            shell.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for value in shell.graph.input:
        _fix_batch(value)
    return shell


def _fix_batch(value: Any) -> None:
    dims = value.type.tensor_type.shape.dim
    if dims and not dims[0].HasField("dim_value"):
        dims[0].dim_value = 1


def _shapes(graph: Any) -> dict[str, Shape]:
    """Shapes by name, where every axis is known."""
    known: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            known[node.output[0]] = tuple(attribute.t.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if not value.type.tensor_type.HasField("shape"):
            continue
        dims: Sequence[Any] = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
            known[value.name] = tuple(dim.dim_value for dim in dims)
    return known
