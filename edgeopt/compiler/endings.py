"""How a graph ends: the operator that makes an output, behind whatever only reshapes, scales or shifts. Pure."""

from __future__ import annotations

from typing import Any

PASS_THROUGH = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Cast", "Dropout", "Transpose", "QuantizeLinear", "DequantizeLinear"}
    | {"Add", "Mul", "Sub", "Clip", "Unsqueeze"}
)
SOFTMAX = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
DENSE = frozenset({"Gemm", "MatMul", "QLinearMatMul", "MatMulInteger", "FusedGemm", "QGemm"})
POOL = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean", "GlobalMaxPool", "QLinearGlobalAveragePool"})
NORMS = frozenset({"ReduceL2", "LpNormalization", "Norm"})
MAX_STEPS = 32


def ending(graph: Any, name: str) -> str | None:
    """Return the operator that makes the scores of output `name`: Softmax, a dense layer or pooling; None when it ends otherwise."""
    makers = _makers(graph)
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


def is_normalised(graph: Any, name: str) -> bool:
    """Tell whether output `name` is a vector divided by its length."""
    makers = _makers(graph)
    for _ in range(MAX_STEPS):
        node = makers.get(name)
        if node is None:
            return False
        if node.op_type in NORMS:
            return True
        # The length is the divisor, behind the Clip or Expand that keeps it from 0.
        if node.op_type not in PASS_THROUGH | {"Div", "Expand", "Sqrt", "Max"}:
            return False
        name = node.input[1] if node.op_type == "Div" else node.input[0]
    return False


def _makers(graph: Any) -> dict[str, Any]:
    return {out: node for node in graph.node for out in node.output}


def _maker_op(makers: dict[str, Any], name: str) -> str | None:
    return makers[name].op_type if name in makers else None
