"""Rounding to steps that are learned: a value as its code would be, with gradients for the value and for the size of the step.

Esser et al., *Learned Step Size Quantization*, ICLR 2020 (arXiv 1902.08153). Codes run from `low` to `high` with 0 among them, v = x / s:
`x^ = round(clip(v, low, high)) * s`; the gradient goes straight through the rounding and stops where v is clipped; that of s is `round(v) - v` inside and the code at the end outside (section 2.1), times
1 / sqrt(N * high) with N values to a step (section 2.2). Adam, which divides by the size of gradients, makes that last factor one of the many that do not matter; an optimiser that does not would need it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

LEAST, MOST = 0.5, 2.0
"""Of what a step was at first: farther, and the range that the samples showed is not what is rounded any more."""

SLOWER = 0.1
"""Than weights: what moves a step by a hundredth moves a code of 100 by one."""


class LearnedStep(torch.nn.Module):  # type: ignore[misc]
    """Rounds what goes through it. What is learned is `ratio`, 1 at first, from which the steps as shares of what they began with follow (see `SLOWER`): one rate then suits steps of every size.

    Args:
        start: the steps, [1] or one for each place on `axis`.
        low: the lowest codes, counted from the code of 0; one for each step, or one for all.
        high: the highest.
        axis: of what goes through.
        most: no step grows beyond this share of its start.
    """

    def __init__(self, start: Any, low: Any, high: Any, *, axis: int, most: float = MOST) -> None:
        super().__init__()
        self.axis, self.most = axis, most
        self.ratio = torch.nn.Parameter(torch.ones(len(start)))
        for name, array in (("start", start), ("low", low), ("high", high)):
            self.register_buffer(name, torch.as_tensor(array, dtype=torch.float32).reshape(-1))

    def steps(self) -> Any:
        """As they are now, float32, shaped as `start`."""
        ratio = 1.0 + SLOWER * (self.ratio - 1.0)
        return self.start * _Within.apply(ratio, LEAST, self.most)

    def forward(self, x: Any) -> Any:
        """The values that codes stand for."""
        return _Rounded.apply(x, *(self._along(x, each) for each in (self.steps(), self.low, self.high)))

    def _along(self, x: Any, tensor: Any) -> Any:
        shape = [1] * x.dim()
        shape[self.axis % x.dim()] = -1
        return tensor.reshape(()) if tensor.numel() == 1 else tensor.reshape(shape)


class RoundedBias(torch.nn.Module):  # type: ignore[misc]
    """A bias in whole steps of its layer's input times those of its weights, as it is added to integer sums. Where inputs are raw pixels these steps are coarse enough to matter."""

    def __init__(self, inputs: LearnedStep, weights: LearnedStep) -> None:
        super().__init__()
        self.inputs, self.weights = inputs, weights

    def forward(self, bias: Any) -> Any:
        """The bias as it acts. Its steps are not learned from this."""
        step = (self.inputs.steps() * self.weights.steps()).detach()
        return bias + (torch.round(bias / step) * step - bias).detach()


class _Rounded(torch.autograd.Function):  # type: ignore[misc]
    """One function, so that a tensor is kept once and not at each of its parts."""

    @staticmethod
    def forward(ctx: Any, x: Any, step: Any, low: Any, high: Any) -> Any:
        v = x.float() / step
        ctx.save_for_backward(v, step, low, high)
        return torch.clamp(torch.round(v), low, high) * step

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        v, step, low, high = ctx.saved_tensors
        grad = grads[0]
        codes = torch.clamp(torch.round(v), low, high)
        inside = (v >= low) & (v <= high)
        towards = torch.where(inside, codes - v, codes) * grad
        to_a_step = v.numel() / step.numel()
        factor = 1.0 / math.sqrt(to_a_step * float(high.max()))
        return grad * inside, towards.sum_to_size(step.shape) * factor, None, None


class _Within(torch.autograd.Function):  # type: ignore[misc]
    """A clamp that lets through what pulls back inside: a plain one would hold for ever what once stood at its end."""

    @staticmethod
    def forward(ctx: Any, x: Any, low: float, high: float) -> Any:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return torch.clamp(x, low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        grad = grads[0]
        outward = ((x >= ctx.high) & (grad < 0)) | ((x <= ctx.low) & (grad > 0))
        return torch.where(outward, torch.zeros_like(grad), grad), None, None
