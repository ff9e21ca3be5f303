"""QuantizeLinear and DequantizeLinear, with gradients that go straight through the rounding.

Codes stay in float: rounding has the gradient of the identity inside of the range and none outside (Bengio et al., *Estimating or Propagating Gradients Through Stochastic
Neurons*, 2013), and scales get the gradient of Esser et al., *Learned Step Size Quantization*, ICLR 2020, by the chain rule.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given

_RANGES = {
    torch.int8: (-128, 127),
    torch.uint8: (0, 255),
    torch.int16: (-32768, 32767),
    torch.int32: (-(2**31), 2**31 - 1),
}


def straight_round(x: Any) -> Any:
    """Rounded to even, with the gradient of x."""
    return x + (torch.round(x) - x).detach()


def _along(node: Node, x: Any, tensor: Any) -> Any:
    """A scale or zero point, shaped to act on the node's axis."""
    if tensor.numel() == 1:
        return tensor.reshape(())
    shape = [1] * x.dim()
    shape[int(node.get("axis", 1)) % x.dim()] = -1
    return tensor.reshape(shape)


def _quantize(node: Node, inputs: Tensors) -> Any:
    x, scale, zero = inputs[0], inputs[1], given(inputs, 2)
    if node.get("block_size", 0):
        raise node.refuse("it has scales by block")
    low, high = _RANGES[torch.uint8 if zero is None else zero.dtype]
    shift = 0.0 if zero is None else _along(node, x, zero).to(x.dtype)
    return torch.clamp(straight_round(x / _along(node, x, scale)) + shift, low, high)


def _dequantize(node: Node, inputs: Tensors) -> Any:
    x, scale, zero = inputs[0], inputs[1], given(inputs, 2)
    if node.get("block_size", 0):
        raise node.refuse("it has scales by block")
    codes = x.to(scale.dtype)
    codes = codes if zero is None else codes - _along(node, codes, zero).to(scale.dtype)
    return codes * _along(node, codes, scale)


QUANTISED: dict[str, Operator] = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}
