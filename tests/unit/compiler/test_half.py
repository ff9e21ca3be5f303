"""float16: what does not fit stays in float32, and the result always loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.half import MASK, halved, passes_float16
from edgeopt.compiler.node_order import sort_nodes
from edgeopt.compiler.running import Feeds
from tests import models

WIDTH = 16


def samples(folder: Path, size: float = 1.0) -> Feeds:
    path = folder / "feeds.npz"
    generator = np.random.default_rng(0)
    arrays = [(size * generator.standard_normal((1, WIDTH))).astype(np.float32) for _ in range(6)]
    np.savez(path, **{f"s{i}.0": array for i, array in enumerate(arrays)})
    return Feeds(path, ["x"], len(arrays))


def run(model: onnx.ModelProto, feeds: Feeds) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def net(nodes: list[Any], constants: list[Any], **options: Any) -> onnx.ModelProto:
    return models.make(nodes, [models.value("x", [1, WIDTH])], [models.value("y", None)], constants, **options)


def growing() -> onnx.ModelProto:
    """A product that makes 1e5, a sum with that, and a product that makes it small again."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["h"], name="up"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "down"], ["s"], name="down"),
        helper.make_node("MatMul", ["s", "last"], ["y"], name="last"),
    ]
    constants = [
        models.weights("up", WIDTH, WIDTH, scale=3e4),
        models.weights("down", WIDTH, WIDTH, scale=1e-5),
        models.weights("last", WIDTH, WIDTH),
    ]
    return net(nodes, constants)


def close(model: onnx.ModelProto, feeds: Feeds) -> tuple[onnx.ModelProto, list[str]]:
    """The model in float16, its answers compared with those in float32."""
    expected = run(model, feeds)
    made, notes = halved(model, feeds)
    made = sort_nodes(made)
    onnx.checker.check_model(made)
    np.testing.assert_allclose(run(made, feeds), expected, atol=0.01 * np.abs(expected).max())
    return made, notes


def test_what_passes_the_end_of_float16_stays_in_float32(tmp_path):
    made, notes = close(growing(), samples(tmp_path))
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert kinds["up"] == kinds["down"] == TensorProto.FLOAT
    assert kinds["last"] == TensorProto.FLOAT16
    assert "3 of 4 operators stay in float32" in notes[0]
    assert "up" in notes[0]


def test_large_values_never_go_through_float16_between_two_operators_in_float32(tmp_path):
    """The converter alone puts a cast to float16 and one back between them: infinity."""
    made, _ = close(growing(), samples(tmp_path))
    makers = {name: node for node in made.graph.node for name in node.output}
    relu = next(node for node in made.graph.node if node.op_type == "Relu")
    assert relu.input[0].startswith("h")
    chain = makers[relu.input[0]]
    while chain.op_type == "Cast":
        assert next(a.i for a in chain.attribute if a.name == "to") == TensorProto.FLOAT
        chain = makers[chain.input[0]]
    assert chain.name == "up"


def test_large_inputs_of_the_model_are_not_narrowed_first(tmp_path):
    """And large outputs neither."""
    model = net([helper.make_node("Mul", ["x", "c"], ["y"])], [numpy_helper.from_array(np.float32(2.0), "c")])
    close(model, samples(tmp_path, 1e6))


def test_squares_inside_of_a_normalisation_count(tmp_path):
    nodes = [helper.make_node("LayerNormalization", ["x", "g", "b"], ["y"], axis=-1)]
    constants = [models.weights("g", WIDTH), models.weights("b", WIDTH)]
    assert "1 of 1 operators stay" in close(net(nodes, constants), samples(tmp_path, 300.0))[1][0]
    assert close(net(nodes, constants), samples(tmp_path, 3.0))[1] == []


def test_a_mask_is_no_overflow(tmp_path):
    """The smallest float32 for positions that are not to be seen, as exporters write it: the sum behind it stays in float16."""
    nodes = [
        helper.make_node("Less", ["x", "zero"], ["hidden"]),
        helper.make_node("Where", ["hidden", "mask", "zero"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=-1),
    ]
    constants = [
        numpy_helper.from_array(np.array(np.finfo(np.float32).min), "mask"),
        numpy_helper.from_array(np.float32(0), "zero"),
    ]
    made, notes = close(net(nodes, constants), samples(tmp_path))
    assert len(notes) == 1
    assert "stand for infinity" in notes[0]
    mask = next(t for t in made.graph.initializer if t.name == "mask")
    assert mask.data_type == TensorProto.FLOAT16
    assert numpy_helper.to_array(mask) == -MASK


def test_operators_whose_types_only_the_runtime_knows_get_their_casts(tmp_path):
    """Gelu of com.microsoft between two products that overflow: onnx knows no type for what it answers."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["h"]),
        helper.make_node("Gelu", ["h"], ["g"], domain="com.microsoft"),
        helper.make_node("MatMul", ["g", "down"], ["s"]),
        helper.make_node("Gelu", ["s"], ["t"], domain="com.microsoft"),
        helper.make_node("Add", ["t", "x"], ["y"]),
    ]
    constants = [models.weights("up", WIDTH, WIDTH, scale=3e4), models.weights("down", WIDTH, WIDTH, scale=1e-5)]
    model = net(nodes, constants)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    expected = run(model, samples(tmp_path))
    made, notes = halved(model, samples(tmp_path))
    np.testing.assert_allclose(run(made, samples(tmp_path)), expected, atol=0.01 * np.abs(expected).max())
    assert "3 of 5 operators stay" in notes[0]


def test_nodes_without_names_are_told_apart(tmp_path):
    model = growing()
    for node in model.graph.node:
        node.ClearField("name")
    assert "3 of 4" in close(model, samples(tmp_path))[1][0]


def test_without_samples_only_constants_are_looked_at():
    model = growing()
    made, notes = halved(model, None)
    assert any("there are no samples" in note for note in notes)
    assert run_types(made) == {TensorProto.FLOAT}


def run_types(model: onnx.ModelProto) -> set[int]:
    """Of inputs and outputs: the signature stays."""
    return {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}


@pytest.mark.parametrize(
    ("kind", "peak", "stays"),
    [
        ("Add", 40_000, True),
        ("Add", 30_000, False),
        ("LayerNormalization", 200, True),
        ("LayerNormalization", 150, False),
    ],
)
def test_half_of_what_float16_holds_is_kept_free(kind, peak, stays):
    assert passes_float16(helper.make_node(kind, ["a"], ["b"]), {"a": float(peak)}) is stays
