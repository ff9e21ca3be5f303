"""Which parameters learn: all, those of channels alone, or low-rank additions to matrices that are merged before export."""

from __future__ import annotations

import math
from typing import Any

import torch

from edgeopt.compiler.train.data import generator
from edgeopt.compiler.train.twin import Twin

RANK = 8


class LowRank(torch.nn.Module):  # type: ignore[misc]
    """A weight plus a product of two thin matrices, the second 0 at first: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022.

    A kernel [out, in, height, width] counts as the matrix [out, in * height * width].
    """

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        rows, columns = shape[0], math.prod(shape[1:])
        start = torch.randn(RANK, columns, generator=generator(seed, 3)) / math.sqrt(columns)
        self.down = torch.nn.Parameter(start)
        self.up = torch.nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, weight: Any) -> Any:
        """The weight as it acts."""
        return weight + (self.up @ self.down).reshape(weight.shape)


def let_train(twin: Twin, which: str, *, seed: int) -> dict[str, Any]:
    """Set what of a twin learns.

    Args:
        twin: on the device where it is trained.
        which: `all`, `affine` (biases, scales, norms) or `lora` (affine, and low-rank additions to every matrix).
        seed: of the additions' start.

    Returns:
        The parameters by a name of their own, in a fixed order.
    """
    roles = ("weight", "affine", "table") if which == "all" else ("affine",)
    chosen = {name: twin.parameter(name) for name in twin.set_trainable(roles)}
    if which == "lora":
        for index, (name, role) in enumerate(twin.roles.items()):
            shape = tuple(twin.parameter(name).shape)
            if role == "weight" and min(shape[0], math.prod(shape[1:])) > RANK:
                adapter = LowRank(shape, seed + index).to(twin.device)
                twin.add_adapter(name, adapter)
                chosen |= {f"{name}/down": adapter.down, f"{name}/up": adapter.up}
    return chosen
