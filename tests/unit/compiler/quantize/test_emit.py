"""The QDQ graph: what it computes, how it is encoded, what becomes of activations, heads and outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from edgeopt.compiler.quantize.emit import LEVELS, emit, scale_for
from edgeopt.compiler.quantize.encoding import ENCODINGS, S8S8, U8S8, U8U8
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.observe import answers
from tests.unit.compiler.quantize import nets


def kinds(model):
    return [node.op_type for node in model.graph.node]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return nets.int8(nets.classifier(), nets.feeds(tmp_path_factory.mktemp("feeds")))


def test_the_file_passes_the_checker_and_keeps_its_signature(network):
    model = emit(network)
    onnx.checker.check_model(model)
    original = nets.classifier()
    assert [v.name for v in model.graph.input] == [v.name for v in original.graph.input]
    assert [v.name for v in model.graph.output] == [v.name for v in original.graph.output]


def test_int8_answers_are_close_to_the_float_networks(network, tmp_path):
    judges = nets.feeds(tmp_path, seed=1)
    truth = answers(nets.classifier(), judges, fused=False)
    assert sqnr_db(truth, answers(emit(network), judges, fused=True)) > 25


def test_encodings_that_share_scales_answer_the_same_in_emulation(network, tmp_path):
    judges = nets.feeds(tmp_path, seed=1)
    one, *others = (answers(emit(network, encoding), judges, fused=False) for encoding in (U8S8, S8S8, U8U8))
    for other in others:
        np.testing.assert_array_equal(np.concatenate([a[0] for a in one]), np.concatenate([a[0] for a in other]))


def test_saturation_does_the_work_of_relu_and_clip(network, tmp_path):
    judges = nets.feeds(tmp_path, seed=1)
    with_them, without = emit(network, keep_activations=True), emit(network)
    assert {"Relu", "Clip"} <= set(kinds(with_them))
    assert not {"Relu", "Clip"} & set(kinds(without))
    kept, dropped = (answers(model, judges, fused=False) for model in (with_them, without))
    np.testing.assert_array_equal(np.concatenate([a[0] for a in kept]), np.concatenate([a[0] for a in dropped]))


def test_a_range_beyond_clips_bound_keeps_the_clip(tmp_path):
    """The codes would reach above 6, so saturation alone would not cut there."""
    network = nets.int8(nets.Chain().conv(4).clip(6.0).conv(4).model(), nets.feeds(tmp_path))
    clipped = next(iter(network.placement.activations.values())).out
    network.scales[network.placement.group[clipped]] = scale_for(0.0, 7.0)
    assert "Clip" in kinds(emit(network))


@pytest.mark.parametrize("encoding", [U8S8, S8S8, U8U8], ids=lambda each: each.name)
def test_activations_and_weights_have_the_encodings_types(network, encoding):
    model = emit(network, encoding)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    code, weight = (TensorProto.DataType.Value(word.upper()) for word in (encoding.activations, encoding.weights))
    assert {types[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"} == {code}
    assert {types[name] for name in types if name.endswith("_w_codes")} == {weight}
    assert {types[name] for name in types if name.endswith("_b_codes")} == {TensorProto.INT32}


def test_a_sum_and_its_relu_share_one_quantiser(tmp_path):
    chain = nets.Chain().conv(4).op("Relu")
    left = chain.tensor
    model = chain.conv(4).op("Add", left).op("Relu").conv(4).model()
    emitted = emit(nets.int8(model, nets.feeds(tmp_path)))
    assert "Relu" not in kinds(emitted)


def test_an_output_that_is_read_inside_too_keeps_its_name_and_its_quantised_value(tmp_path):
    chain = nets.Chain().conv(4).op("Relu")
    inner = chain.tensor
    model = chain.conv(4).model(inner, "t2")
    samples = nets.feeds(tmp_path)
    truth = answers(model, samples, fused=False)
    emitted = emit(nets.int8(model, samples))
    onnx.checker.check_model(emitted)
    for fused in (False, True):
        assert sqnr_db(truth, answers(emitted, samples, fused=fused)) > 25


def test_each_channel_of_a_head_has_its_own_scale(tmp_path):
    """A 3x3 head whose channels differ by three orders of magnitude: one scale for all would lose the small ones."""
    chain = nets.Chain().conv(4).op("Relu").conv(4)
    model = chain.model()
    head = next(t for t in model.graph.initializer if t.name == f"{chain.tensor}_w")
    values = onnx.numpy_helper.to_array(head) * np.array([1, 0.1, 0.01, 0.001], np.float32).reshape(4, 1, 1, 1)
    head.CopyFrom(onnx.numpy_helper.from_array(values, head.name))
    samples = nets.feeds(tmp_path)
    truth = np.concatenate([a[0] for a in answers(model, samples, fused=False)])
    got = np.concatenate([a[0] for a in answers(emit(nets.int8(model, samples)), samples, fused=True)])
    for channel in range(4):
        noise = np.square(truth[:, channel] - got[:, channel]).sum()
        assert 10 * np.log10(np.square(truth[:, channel]).sum() / noise) > 25


@given(low=st.floats(-1e6, 1e6), high=st.floats(-1e6, 1e6))
def test_every_range_contains_zero_exactly(low, high):
    scale = scale_for(min(low, high), max(low, high))
    assert 0 <= scale.zero[0] <= LEVELS
    assert np.isfinite(scale.scale).all()
    assert (scale.scale > 0).all()


@settings(
    max_examples=40,
    deadline=None,
    # How near is a matter of the example: what passes here must pass everywhere.
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    links=st.lists(st.sampled_from(sorted(nets.LINKS)), min_size=1, max_size=7),
    encoding=st.sampled_from(sorted(ENCODINGS)),
)
def test_any_chain_of_operators_becomes_a_sound_file_near_the_float_network(tmp_path, links, encoding):
    model = nets.chained(links).model()
    samples = nets.feeds(tmp_path, count=8)
    network = nets.int8(model, samples, ENCODINGS[encoding])
    emitted = emit(network)
    onnx.checker.check_model(emitted)
    truth = answers(model, samples, fused=False)
    assert sqnr_db(truth, answers(emitted, samples, fused=False)) > 15
    kept = answers(emit(network, keep_activations=True), samples, fused=False)
    assert sqnr_db(kept, answers(emitted, samples, fused=False)) > 40
    assert sqnr_db(truth, answers(emitted, samples, fused=True)) > 15


def test_what_a_body_of_control_flow_reads_from_outside_is_still_there(tmp_path):
    """The Relu vanishes into its quantiser, and an If inside of the graph reads the Relu's answer by name."""
    chain = nets.Chain().conv(4).op("Relu")
    inner = chain.tensor
    bodies = {
        branch: onnx.helper.make_graph(
            [onnx.helper.make_node(kind, [inner], [f"{branch}_out"])],
            branch,
            [],
            [onnx.helper.make_tensor_value_info(f"{branch}_out", TensorProto.FLOAT, [1, 4, nets.SIZE, nets.SIZE])],
        )
        for branch, kind in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    chain.constants.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    chain.nodes.append(onnx.helper.make_node("If", ["yes"], ["picked"], **bodies))
    model = chain.conv(4).model("picked", "t3")
    samples = nets.feeds(tmp_path)
    emitted = emit(nets.int8(model, samples))
    onnx.checker.check_model(emitted)
    truth = answers(model, samples, fused=False)
    assert sqnr_db(truth, answers(emitted, samples, fused=True)) > 25
