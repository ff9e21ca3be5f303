"""The network: a residual stem, where most of the arithmetic is, and a depthwise body, where most of the layers are.

At 1 x 3 x 96 x 96 it takes about 115 million multiply-adds and 0.47 million parameters. The two halves are what small
vision networks are made of today, and they behave differently on a board: dense 3 x 3 convolutions gain most from int8
and threads, depthwise ones least, and those are also what int8 hurts first.
"""

import torch
from torch import Tensor, nn


def convolution(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1, activation: nn.Module | None = None
) -> nn.Sequential:
    """Convolution and batch normalisation, then the activation if there is one."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation] if activation else []))


class Residual(nn.Module):
    """Two dense 3 x 3 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(inputs, outputs, stride=stride, activation=nn.ReLU()), convolution(outputs, outputs)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, kernel=1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map count x inputs x height x width to count x outputs x height/stride x width/stride."""
        return torch.relu(self.body(features) + self.shortcut(features))


class InvertedResidual(nn.Module):
    """Expand four times, filter each channel by itself, project (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.body = nn.Sequential(
            convolution(inputs, wide, kernel=1, activation=nn.ReLU6()),
            convolution(wide, wide, stride=stride, groups=wide, activation=nn.ReLU6()),
            convolution(wide, outputs, kernel=1),
        )
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Map count x inputs x height x width to count x outputs x height/stride x width/stride."""
        filtered: Tensor = self.body(features)
        return features + filtered if self.adds_input else filtered


def parts_network(classes: int) -> nn.Sequential:
    """The untrained network: count x 3 x 96 x 96 to count x classes logits."""
    return nn.Sequential(
        convolution(3, 32, stride=2, activation=nn.ReLU()),
        Residual(32, 32, stride=1),
        Residual(32, 64, stride=2),
        InvertedResidual(64, 96, stride=2),
        InvertedResidual(96, 96, stride=1),
        InvertedResidual(96, 128, stride=2),
        InvertedResidual(128, 128, stride=1),
        convolution(128, 256, kernel=1, activation=nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, classes),
    )
