"""ONNX to OpenVINO's form: the same answers, the same interface, and a sentence where it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgeopt.compiler.convert.openvino import to_openvino
from edgeopt.compiler.convert.runner import open_converted
from edgeopt.compiler.refuse import Refused
from tests import models

pytest.importorskip("openvino")


def written(model: onnx.ModelProto, folder: Path, samples: Any = None) -> Path:
    made = to_openvino(model, folder, samples)
    out = folder / "out"
    out.mkdir()
    for name, data in made.files.items():
        (out / name).write_bytes(data)
    return out / next(iter(made.files))


def test_it_answers_as_the_original_under_the_same_names(tmp_path: Path) -> None:
    model = models.conv_net(batch=1)
    opened = open_converted(written(model, tmp_path))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = {"x": np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    assert opened.input_names == [item.name for item in session.get_inputs()]
    assert opened.output_names == [item.name for item in session.get_outputs()]
    for got, want in zip(opened.run(feed), session.run(None, feed), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_open_axes_stay_open(tmp_path: Path) -> None:
    opened = open_converted(written(models.conv_net(batch="n"), tmp_path))
    assert opened.takes_batches
    assert opened.run({"x": np.zeros((3, 3, 16, 16), np.float32)})[0].shape[0] == 3


def test_open_axes_take_the_size_that_all_samples_have(tmp_path: Path) -> None:
    """A fixed size is faster; samples of several sizes need an open one."""
    alike = [{"x": np.zeros((1, 3, 16, 16), np.float32)}] * 2
    opened = open_converted(written(models.conv_net(batch="n"), tmp_path, alike))
    assert not opened.takes_batches
    with pytest.raises(RuntimeError, match="incompatible"):
        opened.run({"x": np.zeros((3, 3, 16, 16), np.float32)})
    (tmp_path / "other").mkdir()
    mixed = [*alike, {"x": np.zeros((2, 3, 16, 16), np.float32)}]
    assert open_converted(written(models.conv_net(batch="n"), tmp_path / "other", mixed)).takes_batches


def test_an_operator_that_it_does_not_know_is_named(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="somebody.else")
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("somebody.else", 1)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8)
    with pytest.raises(Refused, match=r"OpenVINO cannot read it.*Frobnicate"):
        to_openvino(model, tmp_path)


def test_a_file_that_no_runtime_opens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net")
    with pytest.raises(Refused, match="openvino refuses it"):
        open_converted(tmp_path / "model.xml")
