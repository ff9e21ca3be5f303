"""Small float networks with one way each in which channels go together, and samples for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from edgeopt.compiler.running import Feeds
from tests.models import make, value, weights

WIDTH = 8


def ints(name, *entries):
    return numpy_helper.from_array(np.array(entries, np.int64), name)


def conv(source, target, inputs, outputs, *, kernel=3, group=1, seed=0):
    """(nodes, constants) of a Conv with bias that keeps height and width."""
    name = f"{target}_w"
    node = helper.make_node(
        "Conv", [source, name, f"{target}_b"], [target], name=target, group=group, pads=[kernel // 2] * 4
    )
    return [node], [
        weights(
            name, outputs, inputs // group, kernel, kernel, scale=0.5 / (inputs // group * kernel) ** 0.5, seed=seed
        ),
        weights(f"{target}_b", outputs, seed=seed),
    ]


def op(kind, inputs, output, **attributes):
    return helper.make_node(kind, list(inputs), [output], name=output, **attributes)


def between(middle, constants=(), *, width=WIDTH, ends_at="m", left=None, opset=17) -> ModelProto:
    """[1, 3, 6, 6] -> Conv `a` (`width` channels) -> `middle` -> Conv `z` -> [1, 4, 6, 6]; `left` channels reach `z`."""
    first, first_constants = conv("x", "a", 3, width)
    last, last_constants = conv(ends_at, "z", left or width, 4)
    return make(
        [*first, *middle, *last],
        [value("x", [1, 3, 6, 6])],
        [value("z", [1, 4, None, None])],
        [*first_constants, *constants, *last_constants],
        opset=opset,
    )


def residual(blocks=2, width=WIDTH) -> ModelProto:
    """A stem, identity blocks, pooling, a dense layer, Softmax: [1, 3, 6, 6] -> [1, 5]."""
    nodes, constants = conv("x", "stem", 3, width)
    nodes.append(op("Relu", ["stem"], "r0"))
    for number in range(blocks):
        for node, constant in (
            conv(f"r{number}", f"c{number}", width, width, seed=number),
            conv(f"q{number}", f"d{number}", width, width, seed=number + 9),
        ):
            nodes += node
            constants += constant
            if node[0].output[0] == f"c{number}":
                nodes.append(op("Relu", [f"c{number}"], f"q{number}"))
        nodes += [op("Add", [f"r{number}", f"d{number}"], f"s{number}"), op("Relu", [f"s{number}"], f"r{number + 1}")]
    nodes += [
        op("GlobalAveragePool", [f"r{blocks}"], "p"),
        op("Flatten", ["p"], "f"),
        op("Gemm", ["f", "dense_w", "dense_b"], "g", transB=1),
        op("Softmax", ["g"], "scores", axis=1),
    ]
    constants += [weights("dense_w", 5, width, scale=2.0), weights("dense_b", 5)]
    return make(nodes, [value("x", [1, 3, 6, 6])], [value("scores", [1, 5])], constants)


def attention(heads=4, size=4, hidden=16) -> ModelProto:
    """One transformer block on [1, 6, 16]: attention over `heads`, then a feed-forward part of 32."""
    inner = heads * size
    constants = [ints("split", 1, 6, heads, size), ints("merge", 1, 6, inner)]
    nodes = []
    for name in "qkv":
        constants += [weights(f"{name}_w", hidden, inner), weights(f"{name}_b", inner)]
        nodes += [
            op("MatMul", ["x", f"{name}_w"], f"{name}_m"),
            op("Add", [f"{name}_m", f"{name}_b"], f"{name}_a"),
            op("Reshape", [f"{name}_a", "split"], f"{name}_s"),
            op("Transpose", [f"{name}_s"], f"{name}_t", perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    constants += [weights("o_w", inner, hidden), weights("o_b", hidden), weights("f_w", hidden, 32)]
    constants += [weights("f_b", 32), weights("e_w", 32, hidden), weights("e_b", hidden)]
    nodes += [
        op("MatMul", ["q_t", "k_t"], "scores"),
        op("Softmax", ["scores"], "shares", axis=-1),
        op("MatMul", ["shares", "v_t"], "mixed"),
        op("Transpose", ["mixed"], "back", perm=[0, 2, 1, 3]),
        op("Reshape", ["back", "merge"], "joined"),
        op("MatMul", ["joined", "o_w"], "o_m"),
        op("Add", ["o_m", "o_b"], "o_a"),
        op("Add", ["x", "o_a"], "h"),
        op("MatMul", ["h", "f_w"], "f_m"),
        op("Add", ["f_m", "f_b"], "f_a"),
        op("Relu", ["f_a"], "f_r"),
        op("MatMul", ["f_r", "e_w"], "e_m"),
        op("Add", ["e_m", "e_b"], "e_a"),
        op("Add", ["h", "e_a"], "y"),
    ]
    return make(nodes, [value("x", [1, 6, hidden])], [value("y", [1, 6, hidden])], constants)


def feeds(folder: Path, count=32, shape=(1, 3, 6, 6), seed=0) -> Feeds:
    """Normal noise."""
    generator = np.random.default_rng(seed)
    path = folder / f"samples{count}.npz"
    np.savez(path, **{f"s{i}.0": generator.standard_normal(shape).astype(np.float32) for i in range(count)})
    return Feeds(path, ["x"], count)
