"""A TensorFlow Lite file as the model: what is known of it, what is planned and built, and that a damaged one harms nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.convert.runner import runtime_of_file
from edgeopt.compiler.explain import explain_model
from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.outputs import host_outputs
from edgeopt.compiler.plan import plan_variants
from edgeopt.compiler.score.codes import real_answers
from edgeopt.domain.device import Profile
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Built, Skipped
from edgeopt.errors import ModelError
from edgeopt.samples.record import make_samples
from tests import models
from tests.unit.compiler.convert.lite import convert

RECIPES = ("clean", "int8-static", "litert", "litert-int8")
BOARD = Profile(name="board", title="A board", arch="aarch64", recipes=RECIPES, runtimes=("onnxruntime", "litert"))
TOOLS = {"tflite": "2.3.0"}


def with_codes() -> onnx.ModelProto:
    """A classifier that takes and answers int8, as MLPerf Tiny's files do."""
    inner = models.classifier(classes=4)
    source, target = inner.graph.input[0].name, inner.graph.output[0].name
    for node in inner.graph.node:
        node.input[:] = ["x_real" if name == source else name for name in node.input]
        node.output[:] = ["y_real" if name == target else name for name in node.output]
    values = {"xs": np.float32(0.02), "xz": np.int8(-5), "ys": np.float32(1 / 256), "yz": np.int8(-128)}
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "xs", "xz"], ["x_real"]),
        *inner.graph.node,
        helper.make_node("QuantizeLinear", ["y_real", "ys", "yz"], ["scores"]),
    ]
    shape = [axis.dim_value or 1 for axis in inner.graph.input[0].type.tensor_type.shape.dim]
    return models.make(
        nodes,
        [models.value("pixels", shape, TensorProto.INT8)],
        [models.value("scores", (1, 4), TensorProto.INT8)],
        [*inner.graph.initializer, *(numpy_helper.from_array(np.asarray(v), n) for n, v in values.items())],
    )


@pytest.fixture(scope="module")
def coded(tmp_path_factory) -> tuple[Path, ModelInfo]:
    path = tmp_path_factory.mktemp("coded") / "net.tflite"
    path.write_bytes(convert(with_codes()))
    return path, inspect_model(path)


def test_its_signature_says_what_codes_stand_for(coded):
    _, model = coded
    assert model.format == "tflite"
    assert [(s.name, s.dtype, s.zero_point) for s in (*model.inputs, *model.outputs)] == [
        ("pixels", "int8", -5),
        ("scores", "int8", -128),
    ]
    assert model.inputs[0].scale == pytest.approx(0.02)
    assert model.task == "classification"
    assert model.macs is not None
    assert not {"QuantizeLinear", "DequantizeLinear"} & model.op_counts.keys()


def test_it_is_run_as_it_is_by_litert(coded):
    _, model = coded
    planned = plan_variants(model, BOARD, has_samples=True, installed=TOOLS)
    assert next((p.name, p.recipe.runtime, p.recipe.format) for p in planned) == ("original", "litert", "tflite")
    assert not any(isinstance(p, Skipped) for p in planned)


def test_what_is_built_of_it_takes_and_answers_the_same_codes(coded, tmp_path):
    path, model = coded
    shape, generator = model.inputs[0].shape, np.random.default_rng(0)
    rows = [(generator.integers(-128, 128, shape).astype(np.int8),) for _ in range(24)]
    samples = make_samples(["pixels"], rows, source="noise")
    planned = plan_variants(model, BOARD, has_samples=True, installed=TOOLS, budget="instant")
    variants = build_variants(planned, model_path=path, model=model, calibration=samples, cache=tmp_path)
    assert [v.name for v in variants if isinstance(v, Built)] == ["original", *RECIPES]
    original = host_outputs(path, samples, workdir=tmp_path)
    assert original[0][0].dtype == np.int8
    for variant in variants:
        answers = host_outputs(Path(variant.folder) / variant.files[0].path, samples, workdir=tmp_path)
        assert answers[0][0].dtype == np.int8
        real = [real_answers(each, model.outputs) for each in (original, answers)]
        assert compare(*real, task=model.task, where="host").cosine > 0.99, variant.name
    folder = Path(next(v for v in variants if v.name == "original").folder)
    assert (folder / "model.tflite").read_bytes() == path.read_bytes()


def test_a_file_that_cannot_be_read_as_onnx_is_still_run(tmp_path):
    model = models.make(
        [helper.make_node("LRN", ["x"], ["y"], size=3)], [models.value("x", (1, 4, 5, 5))], [models.value("y", None)]
    )
    path = tmp_path / "net.tflite"
    path.write_bytes(convert(model))
    info = inspect_model(path)
    assert "LOCAL_RESPONSE_NORMALIZATION" in str(info.not_rebuilt)
    planned = plan_variants(info, BOARD, has_samples=True, installed=TOOLS)
    assert [p.name for p in planned if not isinstance(p, Skipped)] == ["original"]
    assert all("can only be run as it is" in p.reason for p in planned if isinstance(p, Skipped))


def test_what_onnxruntime_would_do_with_it_is_not_told(coded):
    with pytest.raises(ModelError, match="what is told here is ONNX Runtime's") as caught:
        explain_model(coded[0])
    assert caught.value.code == "model-unsupported"


def test_what_a_file_is_called_does_not_matter(coded, tmp_path):
    renamed = tmp_path / "network.bin"
    renamed.write_bytes(coded[0].read_bytes())
    assert runtime_of_file(renamed) == "litert"
    assert inspect_model(renamed).digest == coded[1].digest


def test_codes_are_compared_as_real_numbers(coded):
    rows = [[np.asarray([[-128, 0, 127]], np.int8)]]
    np.testing.assert_allclose(real_answers(rows, coded[1].outputs)[0][0], [[0, 0.5, 255 / 256]])


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=30),
    length=st.floats(0, 1.5),
)
def test_a_damaged_file_ends_in_a_description_or_a_sentence(coded, places, length):
    data = bytearray(coded[0].read_bytes())
    data = data[: max(9, int(len(data) * length))]
    for place, byte in places:
        data[8 + place % (len(data) - 8)] = byte
    path = coded[0].with_name("damaged.tflite")
    path.write_bytes(bytes(data))
    try:
        inspect_model(path)
    except ModelError as error:
        words = f"{error.code}: {error}"
    else:
        words = "model-read"
    assert words.startswith("model-")
    assert "Traceback" not in words
