"""Small ONNX models, each with one trait that a test wants. Made here, so that none is committed. All are deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgeopt.samples.record import Samples, make_samples

OPSET = 17
IR_VERSION = 8
Shape = Sequence[int | str | None]


def value(name: str, shape: Shape | None, dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def weights(name: str, *shape: int, scale: float = 0.2, seed: int = 0) -> TensorProto:
    generator = np.random.default_rng([seed, *name.encode()])
    return numpy_helper.from_array((generator.standard_normal(shape) * scale).astype(np.float32), name)


def make(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto] = (),
    *,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
) -> ModelProto:
    graph = helper.make_graph(list(nodes), "made", list(inputs), list(outputs), list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def conv_net(
    *, batch: int | str = "batch", size: int | str = 16, opset: int = OPSET, ir_version: int = IR_VERSION
) -> ModelProto:
    """A convolution with batch norm that can be folded, a second one, pooling. [batch, 3, size, size] -> [batch, 8, 1, 1], no classifier's ending op."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="conv1"),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["n1"], name="norm1"),
        helper.make_node("Relu", ["n1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="conv2"),
        helper.make_node("Relu", ["c2"], ["y"], name="relu2"),
    ]
    constants = [
        weights("w1", 8, 3, 3, 3),
        weights("b1", 8),
        numpy_helper.from_array(np.linspace(0.5, 1.5, 8, dtype=np.float32), "scale"),
        weights("shift", 8),
        weights("mean", 8),
        numpy_helper.from_array(np.linspace(0.5, 2.0, 8, dtype=np.float32), "variance"),
        weights("w2", 8, 8, 3, 3),
    ]
    return make(
        nodes,
        [value("x", [batch, 3, size, size])],
        [value("y", [batch, 8, size, size])],
        constants,
        opset=opset,
        ir_version=ir_version,
    )


def wide_classifier(units: int, *, seed: int = 0) -> ModelProto:
    """Two matrices with 788 bytes of weights a unit: [batch, 3, 8, 8] -> [batch, 5]."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w1"], ["h"], name="wide"),
        helper.make_node("Gemm", ["h", "w2"], ["g"], name="narrow"),
        helper.make_node("Softmax", ["g"], ["scores"], axis=1, name="softmax"),
    ]
    constants = [weights("w1", 192, units, seed=seed), weights("w2", units, 5, seed=seed)]
    return make(nodes, [value("x", ["batch", 3, 8, 8])], [value("scores", ["batch", 5])], constants)


def classifier(
    *, classes: int = 5, batch: int | str = "batch", opset: int = OPSET, ir_version: int = IR_VERSION
) -> ModelProto:
    """Conv, ReLU, pooling, Gemm, Softmax. [batch, 3, 8, 8] -> [batch, classes]."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[3, 3], name="conv"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["g"], name="dense"),
        helper.make_node("Softmax", ["g"], ["scores"], axis=1, name="softmax"),
    ]
    constants = [
        weights("w1", 16, 3, 3, 3, scale=0.5),
        weights("b1", 16),
        weights("w2", 16, classes, scale=2.0),
        weights("b2", classes),
    ]
    return make(
        nodes,
        [value("x", [batch, 3, 8, 8])],
        [value("scores", [batch, classes])],
        constants,
        opset=opset,
        ir_version=ir_version,
    )


def dense_net(*, opset: int = OPSET) -> ModelProto:
    """Two matrix products with a ReLU between. [batch, 32] -> [batch, 16]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], name="dense1"),
        helper.make_node("Relu", ["m1"], ["r1"], name="relu"),
        helper.make_node("MatMul", ["r1", "w2"], ["y"], name="dense2"),
    ]
    return make(
        nodes,
        [value("x", ["batch", 32])],
        [value("y", ["batch", 16])],
        [weights("w1", 32, 64), weights("w2", 64, 16)],
        opset=opset,
    )


def wide_net() -> ModelProto:
    """2 MiB of weights. [1, 512] -> [1, 1024]."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return make([node], [value("x", [1, 512])], [value("y", [1, 1024])], [weights("w", 512, 1024)])


def two_inputs() -> ModelProto:
    """`image` [1, 4] float and `gain` [1, 4] float -> `sum`, `picked` (int64 argmax)."""
    nodes = [
        helper.make_node("Mul", ["image", "gain"], ["sum"], name="mul"),
        helper.make_node("ArgMax", ["sum"], ["picked"], axis=1, keepdims=1, name="argmax"),
    ]
    return make(
        nodes,
        [value("image", [1, 4]), value("gain", [1, 4])],
        [value("sum", [1, 4]), value("picked", [1, 1], TensorProto.INT64)],
    )


def branching() -> ModelProto:
    """An If whose branches hold the weights: x [1, 8] and a bool -> y [1, 8]."""

    def branch(name: str) -> onnx.GraphProto:
        nodes = [helper.make_node("MatMul", ["x", f"w_{name}"], [f"y_{name}"], name=f"dense_{name}")]
        return helper.make_graph(nodes, name, [], [value(f"y_{name}", [1, 8])], [weights(f"w_{name}", 8, 8)])

    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("then"), else_branch=branch("else"), name="if")
    return make([node], [value("x", [1, 8]), value("flag", [], TensorProto.BOOL)], [value("y", [1, 8])])


def not_a_number() -> ModelProto:
    """0 / 0 whatever is fed. [1, 4] -> [1, 4]."""
    nodes = [helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["y"])]
    return make(nodes, [value("x", [1, 4])], [value("y", [1, 4])])


def endless() -> ModelProto:
    """A Loop that does not end in anybody's lifetime. [1] -> [1]."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Add", ["state_in", "state_in"], ["state_out"]),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("go_in", [], TensorProto.BOOL), value("state_in", [1])],
        [value("go_out", [], TensorProto.BOOL), value("state_out", [1])],
    )
    constants = [
        numpy_helper.from_array(np.array(2**62, dtype=np.int64), "trips"),
        numpy_helper.from_array(np.array(True), "go"),
    ]
    loop = helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)
    return make([loop], [value("x", [1])], [value("y", [1])], constants)


def expander() -> ModelProto:
    """As many bytes of output as it is asked for: `shape` (int64 [1]) -> float zeros of that length."""
    node = helper.make_node("ConstantOfShape", ["shape"], ["y"])
    return make([node], [value("shape", [1], TensorProto.INT64)], [value("y", ["n"])])


def already_quantised() -> ModelProto:
    """One Q/DQ pair in front of a matrix product."""
    constants = [
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.uint8(128), "z"),
        weights("w", 8, 8),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    return make(nodes, [value("x", [1, 8])], [value("y", [1, 8])], constants)


def half_net() -> ModelProto:
    """A matrix product in float16. [1, 8] -> [1, 8]."""
    array = np.linspace(-1, 1, 64, dtype=np.float16).reshape(8, 8)
    return make(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", [1, 8], TensorProto.FLOAT16)],
        [value("y", [1, 8], TensorProto.FLOAT16)],
        [numpy_helper.from_array(array, "w")],
    )


def nested(depth: int) -> ModelProto:
    """If within If, `depth` levels."""
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y0"])], "body", [], [value("y0", [1])])
    for level in range(1, depth):
        node = helper.make_node(
            "If", ["flag"], [f"y{level}"], then_branch=inner, else_branch=inner if level == 1 else leaf(level)
        )
        inner = helper.make_graph([node], "body", [], [value(f"y{level}", [1])])
    node = helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=leaf(depth))
    return make([node], [value("x", [1]), value("flag", [], TensorProto.BOOL)], [value("y", [1])])


def leaf(level: int) -> onnx.GraphProto:
    name = f"leaf{level}"
    return helper.make_graph([helper.make_node("Identity", ["x"], [name])], name, [], [value(name, [1])])


def nested_bytes(depth: int) -> bytes:
    """A file of graphs within graphs, deeper than protobuf can build: written field by field."""

    def field(number: int, data: bytes) -> bytes:
        size, left = b"", len(data)
        while left > 127:
            size += bytes([left & 127 | 128])
            left >>= 7
        return bytes([number << 3 | 2]) + size + bytes([left]) + data

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))  # GraphProto.node, NodeProto.attribute, AttributeProto.g
    return b"\x08\x08" + field(7, graph)  # ModelProto.ir_version 8, ModelProto.graph


def initialisers_as_inputs(model: ModelProto, *, ir_version: int = 3) -> ModelProto:
    """The same model as files before IR 4 are: every weight is a graph input as well."""
    for tensor in model.graph.initializer:
        model.graph.input.append(value(tensor.name, list(tensor.dims), tensor.data_type))
    model.ir_version = ir_version
    return model


def save(model: ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def save_external(model: ModelProto, path: Path, location: str = "weights.bin", **entries: Any) -> Path:
    """Save with every float weight in one file beside the graph. `entries` replace what the graph says of it (location, offset, length)."""
    data = b""
    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        said = {"location": location, "offset": len(data), "length": len(raw)} | entries
        for key, content in said.items():
            tensor.external_data.add(key=key, value=str(content))
        data += raw
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
    (path.parent / location).write_bytes(data)
    return save(model, path)


def noise(name: str, *shape: int, count: int = 8, seed: int = 1) -> Samples:
    """Samples for a model of one float input."""
    generator = np.random.default_rng(seed)
    rows = [[generator.standard_normal(shape).astype(np.float32)] for _ in range(count)]
    return make_samples([name], rows, source="noise")
