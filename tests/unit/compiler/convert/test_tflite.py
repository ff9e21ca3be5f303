"""The file as a whole: its border, where its data lies, what is fused, real models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.steps import clean
from tests import models
from tests.unit.compiler.convert.lite import agree, convert, noise, operators, parsed, run, truth


def test_the_border_is_that_of_the_original():
    model = models.conv_net()
    data = convert(model)
    graph = parsed(data).subgraphs[0]
    names = [[graph.tensors[number].name.decode() for number in side] for side in (graph.inputs, graph.outputs)]
    assert names == [["x"], ["y"]]
    assert list(graph.tensors[graph.inputs[0]].shape) == [1, 3, 16, 16]
    signature = parsed(data).signatureDefs[0]
    assert [each.name for each in (*signature.inputs, *signature.outputs)] == [b"x", b"y"]


def test_every_tensor_has_a_name_of_its_own():
    graph = parsed(convert(models.conv_net())).subgraphs[0]
    names = [tensor.name for tensor in graph.tensors]
    assert len(names) == len(set(names))


def test_constants_lie_where_the_schema_wants_them():
    """LiteRT reads weights where they are in the file."""
    weight = noise(5, 3, 3, 3)
    model = models.make(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [models.value("x", (1, 3, 8, 8))],
        [models.value("y", None)],
        [numpy_helper.from_array(weight, "w")],
    )
    data = convert(model)
    assert data.index(weight.transpose(0, 2, 3, 1).tobytes()) % 16 == 0


def test_data_is_moved_at_the_border_alone():
    kinds = agree(clean(models.conv_net(), {}, None), {"x": noise(1, 3, 16, 16)})
    assert kinds["TRANSPOSE"] == 2
    assert kinds["RELU"] == 0
    assert kinds["MUL"] == 0


def test_grey_pictures_are_not_moved():
    model = models.make(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"])],
        [models.value("x", (1, 1, 8, 8))],
        [models.value("y", None)],
        [models.weights("w", 4, 1, 3, 3)],
    )
    assert "TRANSPOSE" not in agree(model, {"x": noise(1, 1, 8, 8)})


def test_a_flattened_picture_is_not_moved_for_a_matrix_product():
    model = models.make(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("Gemm", ["f", "m"], ["y"], transB=1),
        ],
        [models.value("x", (1, 1, 6, 6))],
        [models.value("y", None)],
        [models.weights("w", 4, 1, 3, 3), models.weights("m", 5, 64)],
    )
    assert "TRANSPOSE" not in agree(model, {"x": noise(1, 1, 6, 6)})


@pytest.mark.parametrize(("behind", "padding"), [("Relu", "PAD"), ("Neg", "PADV2")])
def test_a_pooling_behind_relu_is_padded_with_zeros(behind, padding):
    """As in every ResNet: XNNPACK takes no other padding. Where values may be under 0, zeros would win."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(behind, ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    ]
    model = models.make(
        nodes, [models.value("x", (1, 3, 8, 8))], [models.value("y", None)], [models.weights("w", 4, 3, 1, 1)]
    )
    assert agree(model, {"x": noise(1, 3, 8, 8)})[padding] == 1


def test_shuffled_channels_cost_one_move():
    """ShuffleNet's: split channels, swap, join."""
    shapes = [
        numpy_helper.from_array(np.asarray(s, np.int64), n) for s, n in (((1, 2, 3, 4, 4), "a"), ((1, 6, 4, 4), "b"))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Reshape", ["c", "a"], ["d"]),
        helper.make_node("Transpose", ["d"], ["e"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["e", "b"], ["f"]),
        helper.make_node("Conv", ["f", "v"], ["g"]),
        helper.make_node("GlobalAveragePool", ["g"], ["y"]),
    ]
    model = models.make(
        nodes,
        [models.value("x", (1, 1, 6, 6))],
        [models.value("y", None)],
        [models.weights("w", 6, 1, 3, 3), models.weights("v", 2, 6, 1, 1), *shapes],
    )
    assert agree(model, {"x": noise(1, 1, 6, 6)})["TRANSPOSE"] == 1


def test_an_output_that_is_an_input_or_a_constant_has_a_tensor_of_its_own():
    model = models.make(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["c"], ["z"])],
        [models.value("x", (2, 3))],
        [models.value("y", (2, 3)), models.value("z", (2,))],
        [numpy_helper.from_array(np.float32([1, 2]), "c")],
    )
    agree(model, {"x": noise(2, 3)})


def test_float16_is_computed_in_float32_behind_the_same_border():
    model = models.make(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.value("x", (2, 3), TensorProto.FLOAT16)],
        [models.value("y", (2, 4), TensorProto.FLOAT16)],
        [numpy_helper.from_array(noise(3, 4).astype(np.float16), "w")],
    )
    agree(model, {"x": noise(2, 3).astype(np.float16)}, tolerance=2e-3)


def test_open_sizes_are_those_of_the_samples():
    model = models.conv_net(size="side")
    feed = {"x": noise(1, 3, 20, 20)}
    got = run(convert(model, samples=[feed]), feed)
    np.testing.assert_allclose(got[0], truth(model, feed)[0], atol=1e-5)


def test_open_sizes_without_samples_and_samples_of_several_sizes_are_refused():
    model = models.conv_net(size="side")
    with pytest.raises(Refused, match="axis 2 of the input 'x' is open"):
        convert(model)
    with pytest.raises(Refused, match="several"):
        convert(model, samples=[{"x": noise(1, 3, 20, 20)}, {"x": noise(1, 3, 16, 16)}])


def test_shapes_that_are_computed_are_folded():
    """As exporters write `view(x.shape[0], -1)`."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["m"]),
        helper.make_node("Concat", ["m", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    values = (("zero", np.int64(0)), ("axes", np.int64([0])), ("rest", np.int64([-1])))
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values]
    model = models.make(nodes, [models.value("x", ("n", 3, 4))], [models.value("y", None)], constants)
    assert dict(agree(model, {"x": noise(1, 3, 4)})) == {"RESHAPE": 1}


REAL = {
    "detect/nanodet_m.onnx": 17,
    "face/ultraface_RFB_320.onnx": 1,
    "face/yunet_n_320_320.onnx": 1,
    "imagenet/squeezenet_fp32_upcast.derived.onnx": 1,
    "misc/mnist_cntk_opset8.onnx": 0,
    "misc/yolox_auto_compress_0.7.onnx": 4,
    "mlperf_tiny/ad01_fcae_float.derived.onnx": 0,
    "mlperf_tiny/ic_resnet8_float.derived.onnx": 0,
    "mlperf_tiny/vww_96_float.derived.onnx": 0,
}
"""How often data is moved in each."""


@pytest.mark.parametrize("name", REAL)
def test_real_models_answer_as_in_onnx_runtime(shared_testdata, name):
    model = clean(onnx.load(shared_testdata / "models" / name), {}, None)
    value = next(v for v in model.graph.input if v.name not in {t.name for t in model.graph.initializer})
    shape = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
    assert agree(model, {value.name: noise(*shape, low=0)})["TRANSPOSE"] == REAL[name]


def test_control_flow_is_named(shared_testdata):
    with pytest.raises(Refused, match=r"operator If \("):
        convert(onnx.load(shared_testdata / "models" / "audio" / "silero_vad.onnx"))


def test_the_file_has_what_its_outputs_need_and_no_more():
    model = models.make(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Exp", ["x"], ["unused"])],
        [models.value("x", (2, 3))],
        [models.value("y", (2, 3))],
    )
    assert dict(operators(convert(model))) == {"RELU": 1}
