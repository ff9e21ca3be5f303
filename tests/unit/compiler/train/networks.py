"""Tiny networks that learn in a second. Imported by the tests beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from edgeopt.compiler.running import Feeds
from tests.models import make, value, weights

NODES = 5


def pictures(count: int, folder: Path, *, size: int = 16, seed: int = 0) -> Feeds:
    """Smooth noise, [1, 3, size, size] each, as the child gets samples."""
    generator = np.random.default_rng(seed)
    coarse = generator.standard_normal((count, 3, size // 4, size // 4)).astype(np.float32)
    arrays = np.kron(coarse, np.ones((4, 4), np.float32))
    return feeds({"x": arrays[:, None]}, folder)


def feeds(columns: dict[str, Any], folder: Path) -> Feeds:
    """Samples of arrays [count, ...] by input's name."""
    path = folder / "samples.npz"
    count = len(next(iter(columns.values())))
    np.savez(path, **{f"s{i}.{j}": a[i] for i in range(count) for j, a in enumerate(columns.values())})
    return Feeds(path, tuple(columns), count)


def small_net(*, batch: int | str = 1, softmax: bool = True, seed: int = 0) -> ModelProto:
    """Two convolutions with a residual, pooling, Gemm: [batch, 3, 16, 16] -> [batch, 6]."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2], name="stem"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], name="inner"),
        helper.make_node("Add", ["c2", "r1"], ["s"], name="join"),
        helper.make_node("Relu", ["s"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Reshape", ["p", "shape"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g" if softmax else "y"], name="head"),
        *([helper.make_node("Softmax", ["g"], ["y"], axis=1, name="softmax")] if softmax else []),
    ]
    constants = [
        weights("w1", 12, 3, 3, 3, scale=0.4, seed=seed),
        weights("b1", 12, seed=seed),
        weights("w2", 12, 12, 3, 3, scale=0.15, seed=seed),
        weights("b2", 12, seed=seed),
        weights("w3", 12, 6, scale=2.0, seed=seed),
        weights("b3", 6, seed=seed),
        numpy_helper.from_array(np.array([1, 12], np.int64), "shape"),
    ]
    return make(nodes, [value("x", [batch, 3, 16, 16])], [value("y", [batch, 6])], constants)


def damaged(model: ModelProto, share: float = 0.4) -> ModelProto:
    """A copy whose matrices and kernels are off by noise of so much of their spread: a student that answers badly and can learn."""
    copy = ModelProto.FromString(model.SerializeToString())
    generator = np.random.default_rng(1)
    for tensor in copy.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1:
            off = generator.standard_normal(array.shape) * array.std() * share
            tensor.CopyFrom(numpy_helper.from_array((array + off).astype(np.float32), tensor.name))
    return copy
