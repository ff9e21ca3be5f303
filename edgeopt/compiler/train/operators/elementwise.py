"""Operators that act on each value by itself, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given

Unary = Callable[[Any], Any]


def _one(function: Unary) -> Operator:
    def apply(_node: Node, inputs: Tensors) -> Any:
        return function(inputs[0])

    return apply


def _two(function: Callable[[Any, Any], Any]) -> Operator:
    def apply(node: Node, inputs: Tensors) -> Any:
        a, b = inputs
        if node.opset < 7 and node.get("broadcast", 0) and node.get("axis") is not None:
            b = b.reshape(*b.shape, *[1] * (a.dim() - int(node.get("axis")) - b.dim()))
        return function(a, b)

    return apply


def _many(function: Callable[[Any, Any], Any]) -> Operator:
    def apply(_node: Node, inputs: Tensors) -> Any:
        total = inputs[0]
        for other in inputs[1:]:
            total = function(total, other)
        return total

    return apply


def _div(a: Any, b: Any) -> Any:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _mod(node: Node, inputs: Tensors) -> Any:
    function = torch.fmod if node.get("fmod", 0) else torch.remainder
    return function(inputs[0], inputs[1])


def _pow(_node: Node, inputs: Tensors) -> Any:
    base, exponent = inputs
    # A plain number keeps the derivative finite where the base is 0 or negative.
    power = exponent.item() if exponent.numel() == 1 else exponent
    raised = torch.pow(base, power)
    return (
        raised.to(base.dtype)
        if exponent.numel() > 1 or exponent.dim() == 0
        else raised.broadcast_to(torch.broadcast_shapes(base.shape, exponent.shape)).to(base.dtype)
    )


def _mean(node: Node, inputs: Tensors) -> Any:
    return _many(torch.add)(node, inputs) / len(inputs)


def _clip(node: Node, inputs: Tensors) -> Any:
    low, high = given(inputs, 1), given(inputs, 2)
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    x = inputs[0]
    if low is None and high is None:
        return x
    number = [v.item() if isinstance(v, torch.Tensor) else v for v in (low, high)]
    return torch.clamp(x, number[0], number[1])


def _leaky(node: Node, inputs: Tensors) -> Any:
    return functional.leaky_relu(inputs[0], float(node.get("alpha", 0.01)))


def _prelu(_node: Node, inputs: Tensors) -> Any:
    x, slope = inputs
    return torch.where(x < 0, x * slope, x)


def _elu(node: Node, inputs: Tensors) -> Any:
    return functional.elu(inputs[0], float(node.get("alpha", 1.0)))


def _selu(node: Node, inputs: Tensors) -> Any:
    alpha, gamma = (
        float(node.get("alpha", 1.67326319217681884765625)),
        float(node.get("gamma", 1.05070102214813232421875)),
    )
    return gamma * functional.elu(inputs[0], alpha)


def _celu(node: Node, inputs: Tensors) -> Any:
    return functional.celu(inputs[0], float(node.get("alpha", 1.0)))


def _thresholded(node: Node, inputs: Tensors) -> Any:
    return inputs[0] * (inputs[0] > float(node.get("alpha", 1.0)))


def _hard_sigmoid(node: Node, inputs: Tensors) -> Any:
    return torch.clamp(inputs[0] * float(node.get("alpha", 0.2)) + float(node.get("beta", 0.5)), 0.0, 1.0)


def _gelu(node: Node, inputs: Tensors) -> Any:
    how = node.get("approximate", b"none")
    return functional.gelu(inputs[0], approximate=how.decode() if isinstance(how, bytes) else how)


def _fast_gelu(_node: Node, inputs: Tensors) -> Any:
    x = inputs[0] if given(inputs, 1) is None else inputs[0] + inputs[1]
    return functional.gelu(x, approximate="tanh")


def _bias_gelu(_node: Node, inputs: Tensors) -> Any:
    return functional.gelu(inputs[0] + inputs[1])


def _swish(node: Node, inputs: Tensors) -> Any:
    return inputs[0] * torch.sigmoid(inputs[0] * float(node.get("alpha", 1.0)))


def _round(x: Any) -> Any:
    return torch.round(x)


def _mish(x: Any) -> Any:
    return functional.mish(x)


def _softplus(x: Any) -> Any:
    return torch.log1p(torch.exp(-torch.abs(x))) + torch.clamp(x, min=0)


ELEMENTWISE: dict[str, Operator] = {
    "Add": _two(torch.add),
    "Sub": _two(torch.sub),
    "Mul": _two(torch.mul),
    "Div": _two(_div),
    "Mod": _mod,
    "Pow": _pow,
    "And": _two(torch.logical_and),
    "Or": _two(torch.logical_or),
    "Xor": _two(torch.logical_xor),
    "Not": _one(torch.logical_not),
    "Equal": _two(torch.eq),
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "Sum": _many(torch.add),
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "Mean": _mean,
    "Relu": _one(torch.relu),
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "Sigmoid": _one(torch.sigmoid),
    "Tanh": _one(torch.tanh),
    "Gelu": _gelu,
    "FastGelu": _fast_gelu,
    "BiasGelu": _bias_gelu,
    "QuickGelu": _swish,
    "Swish": _swish,
    "Mish": _one(_mish),
    "Softplus": _one(_softplus),
    "Softsign": _one(functional.softsign),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Log": _one(torch.log),
    "Sqrt": _one(torch.sqrt),
    "Reciprocal": _one(torch.reciprocal),
    "Abs": _one(torch.abs),
    "Neg": _one(torch.neg),
    "Sign": _one(torch.sign),
    "Floor": _one(torch.floor),
    "Ceil": _one(torch.ceil),
    "Round": _one(_round),
    "Sin": _one(torch.sin),
    "Cos": _one(torch.cos),
    "Tan": _one(torch.tan),
    "Atan": _one(torch.atan),
    "IsNaN": _one(torch.isnan),
    "Clip": _clip,
}
