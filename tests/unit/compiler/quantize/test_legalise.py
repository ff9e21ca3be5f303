"""Files of other quantisers, written anew: they fuse, and they answer as they did."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.quantize.emit import emit
from edgeopt.compiler.quantize.encoding import S8S8, U8S8
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.legalise import legalise
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.quantize.strip import strip
from edgeopt.compiler.quantize.tools import WAYS
from edgeopt.compiler.refuse import Refused
from tests import models
from tests.unit.compiler.quantize import foreign, nets


def ort_like(model, feeds, folder):
    """The real one."""
    own = type(model)()
    own.CopyFrom(model)
    return WAYS["ort"][0].make(own, feeds, folder)


TOOLS = {
    "nncf": lambda model, feeds, _: foreign.nncf_like(model, feeds),
    "aimet": lambda model, feeds, _: foreign.aimet_like(model, feeds),
    "ort": ort_like,
}


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def kinds(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_foreign_file_fuses_and_answers_as_it_did(tmp_path, tool, signed):
    """Its quantisers stand elsewhere and its steps are not all ours, so the answers differ by rounding: about as much as they differ from the float network's."""
    samples, judges = nets.feeds(tmp_path), nets.feeds(tmp_path, seed=1)
    given_file = TOOLS[tool](nets.classifier(), samples, tmp_path)
    made = legalise(given_file, samples, encoding=S8S8 if signed else U8S8, scratch=tmp_path)
    onnx.checker.check_model(made.model)
    assert made.coverage.fused(arm=signed) == len(made.coverage.products) == 4
    before = answers(given_file, judges, fused=False)
    truth = answers(nets.classifier(), judges, fused=False)
    assert sqnr_db(before, answers(made.model, judges, fused=False)) > 40
    assert sqnr_db(truth, answers(made.model, judges, fused=False)) > sqnr_db(truth, before) - 3


def test_per_channel_activations_alone_keep_a_file_from_fusing(tmp_path):
    """What this is for: the file as given runs its depthwise layer and what is behind it in float."""
    given_file = foreign.nncf_like(nets.classifier(), nets.feeds(tmp_path))
    assert coverage(given_file, tmp_path).fused(arm=False) < 4


def test_a_depthwise_layers_activation_gets_the_union_of_its_channels_ranges(tmp_path):
    samples = nets.feeds(tmp_path)
    given_file = foreign.nncf_like(nets.classifier(), samples)
    relu = next(node.output[0] for node in given_file.graph.node if node.op_type == "Relu")
    assert constants(given_file)[f"{relu}_s"].shape == (8,)
    made = constants(legalise(given_file, samples, encoding=U8S8, scratch=tmp_path).model)
    assert made[f"{relu}_scale"] == pytest.approx(constants(given_file)[f"{relu}_s"].max(), rel=1e-6)


def test_symmetric_weights_and_their_steps_are_taken_over_bit_by_bit(tmp_path):
    samples = nets.feeds(tmp_path)
    given_file = ort_like(nets.classifier(), samples, tmp_path)
    made = legalise(given_file, None, encoding=U8S8, scratch=tmp_path)
    wanted = {v.tobytes() for v in constants(given_file).values() if v.dtype == np.int8 and v.ndim > 1}
    found = {v.tobytes() for n, v in constants(made.model).items() if n.endswith("_w_codes")}
    assert wanted
    assert wanted == found
    assert any("weights of 4 of 4 layers as they were" in note for note in made.notes)


def test_unsigned_weights_become_the_nearest_signed_ones(tmp_path):
    samples = nets.feeds(tmp_path)
    given_file = foreign.nncf_like(nets.classifier(), samples)
    made = legalise(given_file, samples, encoding=U8S8, scratch=tmp_path).model
    got = next(v for n, v in constants(made).items() if n.startswith("t0_conv") and n.endswith("_w_codes"))
    steps = next(v for n, v in constants(made).items() if n.startswith("t0_conv") and n.endswith("_w_scales"))
    tables = constants(given_file)
    shape = (-1, 1, 1, 1)
    said = (tables["t0_w_c"].astype(np.float32) - tables["t0_w_z"].astype(np.float32).reshape(shape)) * tables[
        "t0_w_s"
    ].reshape(shape)
    assert (np.abs(got * steps.reshape(shape) - said) <= 0.5001 * steps.reshape(shape)).all()


def test_relu_that_a_quantiser_stood_for_is_there_again(tmp_path):
    """ONNX Runtime's quantiser leaves Relu and Clip out: the float network behind its file is not the one without them."""
    samples = nets.feeds(tmp_path)
    given_file = ort_like(nets.classifier(), samples, tmp_path)
    assert "Relu" not in kinds(given_file)
    stripped = strip(given_file)
    assert kinds(stripped.model).count("Relu") == 3
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds(stripped.model))
    assert sqnr_db(answers(given_file, samples, fused=False), answers(stripped.model, samples, fused=False)) > 25


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(links=st.lists(st.sampled_from(sorted(nets.LINKS)), min_size=1, max_size=6), signed=st.booleans())
def test_our_own_files_answer_the_same_when_they_are_written_anew(tmp_path, links, signed):
    chain = nets.chained(links)
    samples = nets.feeds(tmp_path, count=6)
    emitted = emit(nets.int8(chain.model(), samples), S8S8 if signed else U8S8)
    made = legalise(emitted, samples, encoding=S8S8 if signed else U8S8, scratch=tmp_path)
    for first, second in zip(
        answers(emitted, samples, fused=False), answers(made.model, samples, fused=False), strict=True
    ):
        np.testing.assert_allclose(first[0], second[0], rtol=1e-5, atol=1e-6)
    before, after = coverage(emitted, tmp_path), made.coverage
    assert [after.fused(arm=arm) for arm in (False, True)] == [before.fused(arm=arm) for arm in (False, True)]


def test_outputs_keep_their_names_whoever_made_them(tmp_path):
    chain = nets.Chain().conv(4).op("Relu")
    inner = chain.tensor
    model = chain.conv(4).model(inner, "t2")
    samples = nets.feeds(tmp_path)
    emitted = emit(nets.int8(model, samples), U8S8)
    made = legalise(emitted, None, encoding=U8S8, scratch=tmp_path).model
    assert [v.name for v in made.graph.output] == [inner, "t2"]
    assert sqnr_db(answers(emitted, samples, fused=False), answers(made, samples, fused=False)) > 60


def test_layers_that_the_tool_left_in_float_stay_float(tmp_path):
    samples = nets.feeds(tmp_path)

    def first_only(writer, node):
        if node.output[0] == "t0":
            node.input[0] = writer.activation(node.input[0], np.uint8)
            node.input[1] = writer.weight(node.input[1], np.int8)

    given_file = foreign.Writer(nets.classifier(), samples).write(first_only)
    made = legalise(given_file, samples, encoding=U8S8, scratch=tmp_path)
    assert [product.x86 for product in made.coverage.products] == [True, False, False, False]
    assert "3 layers stay float" in made.notes


def test_weights_that_are_turned_before_they_are_used_are_weights(tmp_path):
    """PyTorch exports Transpose behind DequantizeLinear, in front of MatMul."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (16, 32)).astype(np.int8)
    parts = {"s": np.float32(0.02), "z": np.uint8(128), "w": codes, "ws": np.full(16, 0.01, np.float32)}
    parts["wz"] = np.zeros(16, np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Transpose", ["wd"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["d", "wt"], ["y"]),
    ]
    model = models.make(
        nodes,
        [models.value("x", [1, 32])],
        [models.value("y", [1, 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in parts.items()],
    )
    samples = nets.feeds(tmp_path, shape=(1, 32))
    made = legalise(model, None, encoding=U8S8, scratch=tmp_path)
    assert made.coverage.x86_share == 1.0
    assert any(np.array_equal(value, codes) for value in constants(made.model).values())
    # The one thing that is new is the bias of zeros.
    assert sqnr_db(answers(model, samples, fused=False), answers(made.model, samples, fused=False)) > 100


def test_sixteen_bits_become_eight_over_the_same_range_and_the_notes_say_so(tmp_path):
    samples = nets.feeds(tmp_path)

    def product(writer, node):
        node.input[0] = writer.activation(node.input[0], np.uint16)
        node.input[1] = writer.weight(node.input[1], np.int8)

    chain = nets.Chain().conv(4).op("Relu").conv(8).op("Relu").op("GlobalAveragePool").gemm(3)
    writer = foreign.Writer(chain.model(), samples)
    made = legalise(_opset(writer.write(product), 21), samples, encoding=U8S8, scratch=tmp_path)
    low, high = (float(end.min() if i == 0 else end.max()) for i, end in enumerate(writer.ranges["t1"]))
    assert constants(made.model)["t1_scale"] == pytest.approx((high - min(low, 0.0)) / 255, rel=1e-3)
    assert any("16 bits have 8 now" in note for note in made.notes)


def _opset(model, version):
    model.opset_import[0].version = version
    model.ir_version = 10
    return model


def without_last_range(tmp_path):
    """A Conv that nobody quantises behind: its kernel needs the range of its answer."""
    samples = nets.feeds(tmp_path)
    model = nets.Chain().conv(4).op("Relu").conv(4).model()
    return foreign.nncf_like(model, samples), samples


def test_ranges_that_the_file_lacks_come_from_samples(tmp_path):
    given_file, samples = without_last_range(tmp_path)
    made = legalise(given_file, samples, encoding=U8S8, scratch=tmp_path)
    assert made.coverage.x86_share == 1.0
    with pytest.raises(Refused, match=r"no range for 1 tensors .* give samples") as caught:
        legalise(given_file, None, encoding=U8S8, scratch=tmp_path)
    assert caught.value.code == "samples-missing"


def test_what_is_no_qdq_file_is_refused_in_words(tmp_path):
    plain = nets.classifier()
    with pytest.raises(Refused, match="no activation in the file is quantised"):
        legalise(plain, None, encoding=U8S8, scratch=tmp_path)
    plain.graph.node[0].op_type = "QLinearConv"
    with pytest.raises(Refused, match=r"operators of their own \(QLinearConv\); export it with QuantizeLinear"):
        legalise(plain, None, encoding=U8S8, scratch=tmp_path)


def test_quantisers_around_float_weights_give_nothing_to_write(tmp_path):
    with pytest.raises(Refused, match="no convolution or matrix product in the file has quantised weights"):
        legalise(models.already_quantised(), None, encoding=U8S8, scratch=tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inward": "x_scale"}, "the scale of x is computed while running"),
        ({"outward_zero": "other"}, "another zero point"),
        ({"kind": np.int32}, "only 8 and 16 bits"),
    ],
)
def test_quantisers_that_stand_for_no_range_are_refused(tmp_path, change, words):
    zero = np.array(0, change.get("kind", np.uint8))
    nodes = [
        helper.make_node("Abs", ["s"], ["x_scale"]),
        helper.make_node("QuantizeLinear", ["x", change.get("inward", "s"), "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", change.get("outward_zero", "z")], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    parts = {"s": np.float32(0.1), "z": zero, "other": np.uint8(9)}
    model = models.make(
        nodes,
        [models.value("x", [1, 4])],
        [models.value("y", [1, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in parts.items()],
    )
    with pytest.raises(Refused, match=words):
        strip(model)


def test_integers_that_are_the_models_own_are_left_alone(tmp_path):
    """An input of bytes stays one, an output of bytes too."""
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "s", "z"], ["q0"]),
        helper.make_node("DequantizeLinear", ["q0", "s", "z"], ["d0"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wd"]),
        helper.make_node("Gemm", ["d0", "wd"], ["g"], transB=1),
        helper.make_node("QuantizeLinear", ["g", "s", "z"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    parts = {"s": np.float32(0.1), "z": np.uint8(128), "w": rng.integers(-9, 9, (4, 8)).astype(np.int8)}
    parts["wz"] = np.int8(0)
    model = models.make(
        nodes,
        [models.value("x", [1, 8], TensorProto.UINT8)],
        [models.value("y", [1, 4], TensorProto.UINT8)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in parts.items()],
    )
    made = legalise(model, None, encoding=U8S8, scratch=tmp_path).model
    feed = {"x": np.arange(8, dtype=np.uint8)[None] * 30}
    (before,), (after,) = (answers(each, [feed], fused=False)[0] for each in (model, made))
    assert after.dtype == np.uint8
    np.testing.assert_array_equal(before, after)


def pair_model(outputs, nodes, parts, *, opset=21, shape=(1, 4)):
    model = models.make(
        nodes,
        [models.value("x", shape)],
        [models.value(name, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in parts.items()],
        opset=opset,
        ir_version=10,
    )
    return onnx.shape_inference.infer_shapes(model)


def test_a_quantiser_that_is_read_in_other_steps_is_a_product(tmp_path):
    """Codes made with one scale and read with one for each channel."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "each", "zs"], ["y"], axis=1),
    ]
    parts = {"one": np.float32(1.0), "z": np.uint8(128), "zs": np.full(4, 128, np.uint8)}
    parts["each"] = np.array([1, 2, 4, 8], np.float32)
    model = pair_model(["y"], nodes, parts)
    stripped = strip(model)
    feed = {"x": np.array([[3.0, -2.0, 5.0, 7.0]], np.float32)}
    np.testing.assert_array_equal(*(answers(each, [feed], fused=False)[0][0] for each in (model, stripped.model)))
    (name,) = stripped.scales
    np.testing.assert_array_equal(stripped.scales[name][0].scale, parts["each"])


def test_a_dequantised_input_that_is_an_output_keeps_both_names(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=TensorProto.INT8),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["again"]),
    ]
    stripped = strip(pair_model(["y", "again"], nodes, {"s": np.float32(0.5)}))
    feed = {"x": np.array([[3.0, -2.0, 5.0, 7.0]], np.float32)}
    for answer in answers(stripped.model, [feed], fused=False)[0]:
        np.testing.assert_array_equal(answer, feed["x"])
    assert int(stripped.scales["x"][0].zero[0]) == 128


def test_weights_in_blocks_are_rounded_anew(tmp_path):
    """A step for every four inputs has no kernel; the nearest codes in one step for each output are what there is."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0, block_size=4),
        helper.make_node("MatMul", ["d", "wd"], ["y"]),
    ]
    parts = {"s": np.float32(0.05), "z": np.uint8(128), "w": rng.integers(-127, 128, (8, 3)).astype(np.int8)}
    parts["ws"] = rng.uniform(0.01, 0.02, (2, 3)).astype(np.float32)
    model = pair_model(["y"], nodes, parts, shape=(1, 8))
    made = legalise(model, None, encoding=U8S8, scratch=tmp_path)
    assert any("weights of 0 of 1 layers as they were" in note for note in made.notes)
    samples = nets.feeds(tmp_path, shape=(1, 8))
    assert sqnr_db(answers(model, samples, fused=False), answers(made.model, samples, fused=False)) > 35
