"""Small networks with one trait each, and the way from a network to int8 in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper, shape_inference

from edgeopt.compiler.quantize.budgets import Budget
from edgeopt.compiler.quantize.calibrate import channel_ranges, corrected, observe, prepare, range_choices, rounded
from edgeopt.compiler.quantize.emit import Network
from edgeopt.compiler.quantize.encoding import U8S8, Encoding
from edgeopt.compiler.quantize.ladder import Quantised, calibrate, leave_float, write
from edgeopt.compiler.running import Feeds
from tests.models import make, value, weights

SIZE = 8


def conv(
    source: str,
    target: str,
    outputs: int,
    inputs: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    group: int = 1,
    scale: float = 0.3,
) -> tuple[Any, list[Any]]:
    """A Conv with bias that keeps the size (for stride 1), and its constants."""
    pad = kernel // 2
    node = helper.make_node(
        "Conv",
        [source, f"{target}_w", f"{target}_b"],
        [target],
        name=f"{target}_conv",
        kernel_shape=[kernel, kernel],
        pads=[pad] * 4,
        strides=[stride] * 2,
        group=group,
    )
    return node, [
        weights(f"{target}_w", outputs, inputs // group, kernel, kernel, scale=scale),
        weights(f"{target}_b", outputs),
    ]


class Chain:
    """Builds a network from left to right. `tensor` is the last one made, with `channels` channels."""

    def __init__(self, channels: int = 3, size: int = SIZE) -> None:
        self.tensor, self.channels, self.size = "x", channels, size
        self.inputs = [value("x", [1, channels, size, size])]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def conv(self, outputs: int, **options: Any) -> Chain:
        name = f"t{len(self.nodes)}"
        node, constants = conv(self.tensor, name, outputs, self.channels, **options)
        self.nodes.append(node)
        self.constants += constants
        self.tensor, self.channels = name, outputs
        return self

    def op(self, kind: str, *extra: str, **attributes: Any) -> Chain:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.tensor, *extra], [name], name=f"{name}_{kind}", **attributes))
        self.tensor = name
        return self

    def clip(self, high: float = 6.0) -> Chain:
        low_name, high_name = f"low{len(self.nodes)}", f"high{len(self.nodes)}"
        self.constants += [
            numpy_helper.from_array(np.float32(0.0), low_name),
            numpy_helper.from_array(np.float32(high), high_name),
        ]
        return self.op("Clip", low_name, high_name)

    def gemm(self, outputs: int) -> Chain:
        """Flatten and a dense layer."""
        self.op("Flatten")
        name = f"t{len(self.nodes)}"
        self.constants += [weights(f"{name}_w", outputs, self.channels), weights(f"{name}_b", outputs)]
        self.nodes.append(
            helper.make_node("Gemm", [self.tensor, f"{name}_w", f"{name}_b"], [name], transB=1, name=f"{name}_gemm")
        )
        self.tensor, self.channels = name, outputs
        return self

    def model(self, *outputs: str) -> Any:
        made = make(self.nodes, self.inputs, [value(name, None) for name in outputs or (self.tensor,)], self.constants)
        return shape_inference.infer_shapes(made)


def classifier() -> Any:
    """Conv, Relu, depthwise, Clip, pointwise, pooling, dense, softmax."""
    chain = Chain().conv(8).op("Relu").conv(8, group=8).clip().conv(16, kernel=1).op("Relu")
    return chain.op("GlobalAveragePool").gemm(5).op("Softmax").model()


def feeds(
    folder: Path, *, count: int = 24, shape: tuple[int, ...] = (1, 3, SIZE, SIZE), seed: int = 0, name: str = "x"
) -> Feeds:
    """Seeded noise in a file, as the child gets it."""
    generator = np.random.default_rng(seed)
    path = folder / f"feeds-{seed}.npz"
    np.savez(path, **{f"s{i}.0": generator.standard_normal(shape).astype(np.float32) for i in range(count)})
    return Feeds(path, [name], count)


def int8(
    model: Any,
    samples: Feeds,
    encoding: Encoding = U8S8,
    *,
    ranges: str = "full ranges",
    correct: bool = True,
    **options: Any,
) -> Network:
    """The whole way, with one choice of ranges."""
    prepared = prepare(model, encoding, **options)
    observed = observe(prepared, channel_ranges(prepared, samples), samples, looked_at=samples.count)
    network = rounded(observed, range_choices(observed)[ranges])
    return corrected(network, observed, samples) if correct else network


def quantise(
    model: Any,
    samples: Feeds,
    *,
    encoding: Encoding,
    float_first: int,
    budget: Budget,
    scratch: Path,
    float_share: float = 0.0,
    arm: bool | None = None,
) -> Quantised:
    """The steps of the int8 recipes, one after the other."""
    found = calibrate(model, samples, encoding=encoding, float_first=float_first, budget=budget)
    if float_share:
        found = leave_float(found, samples, share=float_share, budget=budget)
    return write(found, samples, encoding=encoding, arm=arm, budget=budget, scratch=scratch)


def residual(chain: Chain) -> None:
    """A Conv and what it reads, added."""
    before = chain.tensor
    chain.conv(chain.channels).op("Add", before)


def doubled(chain: Chain) -> None:
    """A Conv and what it reads, side by side."""
    before = chain.tensor
    chain.conv(chain.channels).op("Concat", before, axis=1)
    chain.channels *= 2


LINKS: dict[str, Callable[[Chain], object]] = {
    "conv": lambda chain: chain.conv(4),
    "depthwise": lambda chain: chain.conv(chain.channels, group=chain.channels),
    "pointwise": lambda chain: chain.conv(6, kernel=1),
    "relu": lambda chain: chain.op("Relu"),
    "clip": lambda chain: chain.clip(2.0),
    "leaky": lambda chain: chain.op("LeakyRelu", alpha=0.1),
    "sigmoid": lambda chain: chain.op("Sigmoid"),
    "max": lambda chain: chain.op("MaxPool", kernel_shape=[3, 3], pads=[1] * 4),
    "average": lambda chain: chain.op("AveragePool", kernel_shape=[3, 3], pads=[1] * 4),
    "residual": residual,
    "concat": doubled,
}
"""What chains are put together from at random."""


def chained(links: Iterable[str], kinds: Mapping[str, Callable[[Chain], object]] = LINKS) -> Chain:
    """A Conv and these links behind it."""
    chain = Chain().conv(4)
    for link in links:
        kinds[link](chain)
    return chain
