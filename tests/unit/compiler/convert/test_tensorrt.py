"""What TensorRT is given: one fixed size, the border described, answers as before; and what it is not given."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgeopt.compiler.convert.tensorrt import to_tensorrt
from edgeopt.compiler.refuse import Refused
from tests import models


def bench(*feeds: dict[str, Any]) -> Any:
    return SimpleNamespace(samples=SimpleNamespace(first=lambda count: iter(feeds[:count])) if feeds else None)


def test_open_axes_take_the_first_samples_size_and_the_border_is_described() -> None:
    model = models.conv_net(batch="n", size="s")
    feed = {"x": np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)}
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    made = to_tensorrt(model, bench(feed))
    after = onnxruntime.InferenceSession(made.files["model.onnx"])

    assert next(iter(made.files)) == "model.onnx"
    assert after.get_inputs()[0].shape == [1, 3, 12, 12]
    assert after.get_outputs()[0].shape == [1, 8, 12, 12]
    np.testing.assert_array_equal(after.run(None, feed)[0], before[0])
    assert json.loads(made.files["model.json"]) == {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 12, 12]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 8, 12, 12]}],
        "int8": False,
    }


def test_the_same_bytes_each_time() -> None:
    feed = {"x": np.zeros((1, 3, 12, 12), np.float32)}
    first, second = (to_tensorrt(models.conv_net(batch="n", size="s"), bench(feed)).files for _ in range(2))

    assert first == second


def test_a_border_that_versions_of_tensorrt_understand_differently_is_refused() -> None:
    x = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    node = helper.make_node("Cast", ["ids"], ["y"], to=TensorProto.FLOAT)
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    with pytest.raises(Refused, match=r"ids is int64: TensorRT takes and gives float32, float16, int32"):
        to_tensorrt(model, bench())


def test_calibrated_models_say_so() -> None:
    """What is int8 in them must be allowed when the engine is built."""
    model = models.conv_net(batch=1)
    scale, zero = (onnx.numpy_helper.from_array(np.array(value), name) for value, name in ((np.float32(0.1), "s"), (np.int8(0), "z")))  # fmt: skip
    model.graph.initializer.extend([scale, zero])
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", [first.input[0], "s", "z"], ["q"]))
    model.graph.node.insert(1, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]))
    model.graph.node[2].input[0] = "d"
    feed = {"x": np.zeros((1, 3, 16, 16), np.float32)}

    assert json.loads(to_tensorrt(model, bench(feed)).files["model.json"])["int8"] is True
