"""Normalisations and softmax. Statistics of batch norm are the graph's, whatever the batch: what is trained is what is deployed."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from edgeopt.compiler.train.operators.node import Node, Operator, Tensors, given

SOFTMAX_BY_AXIS = 13
"""Before that opset, Softmax flattened everything from its axis on, which was 1."""


def _batch(node: Node, inputs: Tensors) -> Any:
    x, scale, bias, mean, variance = inputs[:5]
    if node.get("training_mode", 0):
        raise node.refuse("it is in training mode, so its answers depend on the rest of the batch")
    return functional.batch_norm(x, mean, variance, scale, bias, eps=float(node.get("epsilon", 1e-5)))


def _instance(node: Node, inputs: Tensors) -> Any:
    x, scale, bias = inputs
    return functional.instance_norm(x, weight=scale, bias=bias, eps=float(node.get("epsilon", 1e-5)))


def _layer(node: Node, inputs: Tensors) -> Any:
    x, scale, bias = inputs[0], inputs[1], given(inputs, 2)
    axis = int(node.get("axis", -1)) % x.dim()
    return _layer_norm(x, axis, scale, bias, float(node.get("epsilon", 1e-5)))


def _layer_norm(x: Any, axis: int, scale: Any, bias: Any, epsilon: float) -> Any:
    shape = tuple(x.shape[axis:])
    fits = tuple(scale.shape) == shape and (bias is None or tuple(bias.shape) == shape)
    normal = functional.layer_norm(x, shape, scale if fits else None, bias if fits else None, epsilon)
    if not fits:
        normal = normal * scale if bias is None else normal * scale + bias
    return normal


def _skip_layer(node: Node, inputs: Tensors) -> Any:
    """Of ONNX Runtime's optimiser: (x + skip + bias), normalised, with the sum as fourth output."""
    total = inputs[0] + inputs[1]
    if given(inputs, 4) is not None:
        total = total + inputs[4]
    normal = _layer_norm(total, total.dim() - 1, inputs[2], given(inputs, 3), float(node.get("epsilon", 1e-5)))
    return (normal, None, None, total)


def _rms(node: Node, inputs: Tensors) -> Any:
    x, scale = inputs[0], inputs[1]
    axis = int(node.get("axis", -1)) % x.dim()
    axes = tuple(range(axis, x.dim()))
    return x * torch.rsqrt(x.pow(2).mean(axes, keepdim=True) + float(node.get("epsilon", 1e-5))) * scale


def _group(node: Node, inputs: Tensors) -> Any:
    x, scale, bias = inputs
    groups = int(node.get("num_groups"))
    normal = functional.group_norm(x, groups, eps=float(node.get("epsilon", 1e-5)))
    if scale.numel() != x.shape[1]:
        # Opset 18 has one for each group, 21 one for each channel.
        scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
    shape = (1, -1, *[1] * (x.dim() - 2))
    return normal * scale.reshape(shape) + bias.reshape(shape)


def _lrn(node: Node, inputs: Tensors) -> Any:
    (x,) = inputs
    size = int(node.get("size"))
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = functional.pad((x * x).unsqueeze(1), (*[0, 0] * (x.dim() - 2), low, high))
    total = squares.unfold(2, size, 1).sum(-1).squeeze(1)
    alpha, beta = float(node.get("alpha", 1e-4)), float(node.get("beta", 0.75))
    return x / (float(node.get("bias", 1.0)) + alpha / size * total) ** beta


def _l2(node: Node, inputs: Tensors) -> Any:
    return functional.normalize(inputs[0], float(node.get("p", 2)), int(node.get("axis", -1)), eps=1e-30)


def _softmax(node: Node, inputs: Tensors) -> Any:
    return _over_axis(torch.softmax, node, inputs[0])


def _log_softmax(node: Node, inputs: Tensors) -> Any:
    return _over_axis(torch.log_softmax, node, inputs[0])


def _over_axis(function: Any, node: Node, x: Any) -> Any:
    if node.opset >= SOFTMAX_BY_AXIS:
        return function(x, int(node.get("axis", -1)))
    axis = int(node.get("axis", 1)) % max(1, x.dim())
    return function(x.flatten(axis), axis).reshape(x.shape)


def _dropout(node: Node, inputs: Tensors) -> Any:
    training = given(inputs, 2)
    if training is not None and bool(training.item()):
        raise node.refuse("it is in training mode, so the network answers differently each time")
    return (inputs[0], torch.ones_like(inputs[0], dtype=torch.bool))


NORMALISE: dict[str, Operator] = {
    "BatchNormalization": _batch,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
    "SkipLayerNormalization": _skip_layer,
    "RMSNormalization": _rms,
    "GroupNormalization": _group,
    "LRN": _lrn,
    "LpNormalization": _l2,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Dropout": _dropout,
}
