"""Products of matrices."""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given


def _matmul(_node: Node, inputs: Tensors) -> Any:
    return torch.matmul(inputs[0], inputs[1])


def _gemm(node: Node, inputs: Tensors) -> Any:
    a = inputs[0].transpose(0, 1) if node.get("transA", 0) else inputs[0]
    b = inputs[1].transpose(0, 1) if node.get("transB", 0) else inputs[1]
    product = torch.matmul(a, b) * _plain(node.get("alpha", 1.0))
    bias = given(inputs, 2)
    return product if bias is None else product + bias * _plain(node.get("beta", 1.0))


def _plain(factor: float) -> Any:
    """An int where it is one, so that nothing is multiplied by 1.0 in another type."""
    return int(factor) if float(factor).is_integer() else factor


def _einsum(node: Node, inputs: Tensors) -> Any:
    equation = node.get("equation")
    return torch.einsum(equation.decode() if isinstance(equation, bytes) else equation, *inputs)


MATRIX: dict[str, Operator] = {"MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum}
