"""Guess what a model is for from its signature and how its graph ends. Pure; works on anything that looks like onnx's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeopt.domain.model import Task, TensorSpec

PASS_THROUGH = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Cast", "Dropout", "Transpose", "QuantizeLinear", "DequantizeLinear"}
    | {"Add", "Mul", "Sub", "Clip", "Unsqueeze"}
)
SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
DENSE = frozenset({"Gemm", "MatMul", "QLinearMatMul", "MatMulInteger", "FusedGemm", "QGemm"})
POOL = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean", "GlobalMaxPool", "QLinearGlobalAveragePool"})
MAX_STEPS = 32


def guess_task(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], graph: Any) -> tuple[Task, str]:
    """A classifier has one float output [N, C] or [N, C, 1, 1], C >= 2, shaped unlike its input, that ends in class scores.

    Returns:
        The task and the reason, in words that can follow "because".
    """
    if len(outputs) != 1:
        return "other", f"it has {len(outputs)} outputs, a classifier has one"
    output = outputs[0]
    if not output.dtype.startswith("float"):
        return "other", f"its output {output.name!r} is {output.dtype}, class scores are floats"
    classes = _classes(output)
    if classes is None:
        return "other", f"its output {output.name!r} has the shape {shape_words(output)}, class scores are [N, C]"
    if any(_like(spec, output) for spec in inputs):
        return "other", "its output has the shape of its input, as in an autoencoder or a filter"
    ending = _ending(graph, output.name)
    if ending is None:
        return "other", "its graph does not end in class scores (Softmax, a dense layer, or pooling)"
    return "classification", f"its output {output.name!r} is {shape_words(output)} and the graph ends in {ending}"


def shape_words(spec: TensorSpec) -> str:
    """`[?, 1000]` for people."""
    if spec.shape is None:
        return "unknown"
    return "[" + ", ".join("?" if axis is None else str(axis) for axis in spec.shape) + "]"


def _classes(output: TensorSpec) -> int | None:
    shape = output.shape
    if shape is None or len(shape) not in (2, 4) or shape[2:] not in ((), (1, 1)):
        return None
    return shape[1] if isinstance(shape[1], int) and shape[1] >= 2 else None


def _like(spec: TensorSpec, output: TensorSpec) -> bool:
    """Same rank and the same axes after the batch."""
    return spec.shape is not None and output.shape is not None and spec.shape[1:] == output.shape[1:]


def _ending(graph: Any, name: str) -> str | None:
    """The op that makes the scores, behind whatever only reshapes, scales or shifts."""
    makers = {out: node for node in graph.node for out in node.output}
    for _ in range(MAX_STEPS):
        node = makers.get(name)
        if node is None:
            return None
        op: str = node.op_type
        if op in SOFTMAX or op in DENSE or op in POOL:
            return op
        if op == "Conv" and _maker_op(makers, node.input[0]) in POOL:
            return "a 1x1 Conv over pooled features"
        if op not in PASS_THROUGH:
            return None
        # An Add of a bias or a Mul by a scale: follow the operand that the graph computes.
        name = next((i for i in node.input if i in makers and makers[i].op_type != "Constant"), "")
    return None


def _maker_op(makers: dict[str, Any], name: str) -> str | None:
    return makers[name].op_type if name in makers else None
