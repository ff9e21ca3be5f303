"""Encodings: what each promises to the kernels that it is for, and that those which share scales are one network."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeopt.compiler.quantize import ladder
from edgeopt.compiler.quantize.budgets import BUDGETS
from edgeopt.compiler.quantize.emit import emit, nearest_codes
from edgeopt.compiler.quantize.encoding import QNN, QNN_A16, S8S8, TRT, U8S8, U8S8_7BIT, U8U8
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.quantize.placement import CARRIED, MADE
from edgeopt.compiler.quantize.ranges import least_error_range
from tests.unit.compiler.quantize import nets

QDQ = ("QuantizeLinear", "DequantizeLinear")


EXACT = ("conv", "depthwise", "relu", "clip", "max", "residual", "concat")
LINKS = {name: nets.LINKS[name] for name in EXACT} | {
    "pointwise": lambda chain: chain.conv(4, kernel=1),
    "average": lambda chain: chain.op("AveragePool", kernel_shape=[2, 2]),
}
"""Those whose sums are exact in float32 when all scales are powers of two."""


ROUNDS_HALVES_ITS_WAY = {"residual", "average"}
"""Sums and means on the runtime's integer kernels: with such scales half codes are common, and those kernels round them otherwise than ONNX says."""


def chained(links, *, dense):
    chain = nets.chained(links, LINKS)
    return (chain.op("GlobalMaxPool").gemm(5) if dense else chain).model()


def with_exact_arithmetic(network):
    """Every scale a power of two, so that float sums of products are exact in any order, and unlike kernels must agree to the last bit."""
    for scale in network.scales.values():
        scale.scale = power_of_two(scale.scale)
    for layer in network.layers:
        steps = power_of_two(network.weight_scales[layer.name])
        network.weight_scales[layer.name] = steps
        network.codes[layer.name] = nearest_codes(layer, steps, network.placement.encoding.weight_limit)
    return network


def power_of_two(scale):
    return np.exp2(np.ceil(np.log2(scale))).astype(np.float32)


def as_written(model, feeds):
    """The answers of a runtime that optimises nothing."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, feed) for feed in feeds]


def by_numpy(model, feeds):
    """ONNX's own reference implementation, which knows quantisers since opset 19."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.opset_import[0].version = 21
    evaluator = ReferenceEvaluator(copy)
    return [evaluator.run(None, feed) for feed in feeds]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    links=st.lists(st.sampled_from(sorted(LINKS)), min_size=1, max_size=5),
    dense=st.booleans(),
    limit=st.sampled_from([U8S8, U8S8_7BIT]),
)
def test_what_is_emitted_is_computed_alike_by_everybody_to_the_last_bit(tmp_path, links, dense, limit):
    """By numpy, by the runtime as written, in float emulation, on integer kernels; in all encodings that share the scales."""
    samples = nets.feeds(tmp_path, count=4)
    network = with_exact_arithmetic(nets.int8(chained(links, dense=dense), samples, limit, correct=False))
    expected = by_numpy(emit(network), samples)
    for encoding in (limit, S8S8, U8U8):
        model = emit(network, encoding)
        ways = [as_written(model, samples), answers(model, samples, fused=False)]
        if ROUNDS_HALVES_ITS_WAY.isdisjoint(links):
            ways.append(answers(model, samples, fused=True))
        for way in ways:
            np.testing.assert_array_equal(np.stack([a[0] for a in way]), np.stack([a[0] for a in expected]))


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.lists(st.sampled_from(sorted(LINKS)), min_size=1, max_size=5), correct=st.booleans())
def test_encodings_that_share_scales_agree_to_rounding(tmp_path, links, correct):
    """With any scales: on integer kernels the last code may differ, where the kernels order their float steps otherwise."""
    samples = nets.feeds(tmp_path, count=4)
    network = nets.int8(chained(links, dense=False), samples, correct=correct)
    one, *others = (answers(emit(network, each), samples, fused=False) for each in (U8S8, S8S8, U8U8))
    for other in others:
        np.testing.assert_array_equal(np.stack([a[0] for a in other]), np.stack([a[0] for a in one]))
    real = [answers(emit(network, each), samples, fused=True) for each in (U8S8, S8S8, U8U8)]
    assert min(sqnr_db(one, each) for each in real) > 40


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.lists(st.sampled_from(sorted(LINKS)), min_size=1, max_size=5))
def test_weights_of_seven_bits_are_rounded_for_seven_bits(tmp_path, links):
    network = nets.int8(chained(links, dense=True), nets.feeds(tmp_path, count=4), U8S8_7BIT)
    for layer in network.layers:
        largest = np.abs(network.codes[layer.name].astype(int)).reshape(layer.channels, -1).max(axis=1)
        assert largest.max() <= U8S8_7BIT.weight_limit
        assert largest.min() > U8S8_7BIT.weight_limit // 2, "a channel wastes a bit"


def test_no_pair_of_products_can_saturate_with_seven_bits_and_with_eight_it_can():
    assert 2 * 255 * U8S8_7BIT.weight_limit <= np.iinfo(np.int16).max < 2 * 255 * U8S8.weight_limit


def loud():
    """Dense layers whose inputs lie near the top of their range and whose weights have one sign: pairs of products are as large as they come."""
    chain = nets.Chain(channels=16, size=1).gemm(16)
    chain.op("Relu").gemm(8)
    model = chain.model()
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_w"):
            tensor.CopyFrom(numpy_helper.from_array(np.abs(numpy_helper.to_array(tensor)) + 0.2, tensor.name))
    return model


def loud_feeds(folder):
    path = folder / "loud.npz"
    values = np.random.default_rng(0).uniform(0.7, 1.0, (24, 1, 16, 1, 1)).astype(np.float32)
    np.savez(path, **{f"s{i}.0": value for i, value in enumerate(values)})
    return nets.Feeds(path, ["x"], 24)


def on_avx2(model, feeds):
    """The answers of VPMADDUBSW: products of neighbours are added two by two in 16 bits, which saturate, then in 32. For chains of dense layers."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    return [[_dense_chain(model, values, makers, feed["x"].reshape(1, -1))] for feed in feeds]


def _dense_chain(model, values, makers, data):
    for gemm in [node for node in model.graph.node if node.op_type == "Gemm"]:
        before, weight, offset = (makers[name] for name in gemm.input)
        step, zero = values[before.input[1]], int(values[before.input[2]])
        codes = np.clip(np.rint(data / step) + zero, 0, 255).astype(np.int64)
        products = codes[:, None, :] * values[weight.input[0]].astype(np.int64)[None]
        pairs = products.reshape(*products.shape[:2], -1, 2).sum(axis=3)
        sums = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=2)
        sums = sums - zero * values[weight.input[0]].astype(np.int64).sum(axis=1)
        data = ((sums + values[offset.input[0]]) * values[offset.input[1]]).astype(np.float32)
    return data


def test_where_pairs_saturate_seven_bits_lose_nothing_and_eight_do(tmp_path):
    samples = loud_feeds(tmp_path)
    truth = answers(loud(), samples, fused=False)
    for encoding, loses in ((U8S8, True), (U8S8_7BIT, False)):
        model = emit(nets.int8(loud(), samples, encoding))
        exact, saturated = answers(model, samples, fused=False), on_avx2(model, samples)
        assert sqnr_db(truth, exact) > 30
        if loses:
            assert sqnr_db(truth, saturated) < sqnr_db(truth, exact) - 10
        else:
            assert sqnr_db(exact, saturated) > 90


@pytest.mark.parametrize(("encoding", "told"), [(U8S8, True), (U8S8_7BIT, False)], ids=["8 bits", "7 bits"])
def test_kernels_that_saturate_are_told_of(tmp_path, monkeypatch, encoding, told):
    """This computer's may not, so its kernels are taken for AVX2's."""

    def pretended(model, feeds, *, fused):
        return on_avx2(model, feeds) if fused else answers(model, feeds, fused=False)

    monkeypatch.setattr(ladder, "answers", pretended)
    made = nets.quantise(
        loud(), loud_feeds(tmp_path), encoding=encoding, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path
    )
    assert any("they saturate" in note for note in made.notes) is told


def branches():
    """A stem, a residual block, SiLU, a pooling, and a head that nothing reads."""
    chain = nets.Chain().conv(4).op("Relu")
    before = chain.tensor
    chain.conv(4).op("Add", before).op("Relu").op("MaxPool", kernel_shape=[2, 2]).conv(4)
    linear = chain.tensor
    chain.op("Sigmoid").op("Mul", linear).conv(6)
    return chain.model()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return nets.feeds(tmp_path_factory.mktemp("feeds"))


class Read:
    """Look-ups in an emitted file."""

    def __init__(self, model):
        onnx.checker.check_model(model)
        self.nodes = list(model.graph.node)
        self.values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}

    def of(self, *kinds):
        return [node for node in self.nodes if node.op_type in kinds]

    def is_dequantised(self, name):
        return name in self.makers and self.makers[name].op_type == "DequantizeLinear"

    def readers(self, name):
        return [node for node in self.nodes if name in node.input]


def test_tensorrt_gets_zeros_of_zero_float_biases_and_quantised_branches(samples):
    """Explicit quantisation, NVIDIA TensorRT developer guide: signed, symmetric, one scale for a tensor, no quantised bias; a residual in int8 so that Add fuses."""
    read = Read(emit(nets.int8(branches(), samples, TRT)))
    for node in read.of(*QDQ):
        zeros = read.values[node.input[2]]
        assert zeros.dtype == np.int8
        assert not zeros.any()
    assert all(read.values[node.input[1]].size == 1 for node in read.of("QuantizeLinear"))
    for conv in read.of("Conv"):
        assert read.is_dequantised(conv.input[0])
        assert len(read.values[read.makers[conv.input[1]].input[1]]) == read.values[conv.input[2]].size
        assert read.values[conv.input[2]].dtype == np.float32
    (added,) = read.of("Add")
    assert all(read.is_dequantised(name) for name in added.input)
    assert not any(read.is_dequantised(name) for node in read.of("Sigmoid", "Mul") for name in node.input)
    head = read.of("Conv")[-1]
    assert not read.readers(head.output[0]), "TensorRT's convolutions answer in float; a head is not rounded"


@pytest.mark.parametrize("encoding", [QNN, QNN_A16], ids=lambda each: each.name)
def test_qnn_gets_no_float_between_quantisers(samples, encoding):
    """Also where nothing in int8 reads it: what is float leaves the NPU."""
    model = nets.Chain().conv(4).op("Relu").conv(6, kernel=1).op("Softmax", axis=1).op("GlobalAveragePool").model()
    for network in (nets.int8(each, samples, encoding) for each in (model, branches())):
        read = Read(emit(network))
        between = read.of("Conv", *(CARRIED | MADE | encoding.made))
        assert len(between) >= 4
        for node in between:
            makes_linear = [each.op_type for each in read.readers(node.output[0])] == ["Relu"]
            assert makes_linear or [each.op_type for each in read.readers(node.output[0])] == ["QuantizeLinear"]
            assert read.is_dequantised(node.input[0]) or node.op_type == "Relu"
        for conv in read.of("Conv"):
            weight, offset = (read.makers[name] for name in conv.input[1:])
            assert read.values[weight.input[0]].dtype == np.int8
            assert not read.values[weight.input[2]].any()
            assert read.values[offset.input[0]].dtype == np.int32
        quantisers = read.of("QuantizeLinear")
        assert {str(read.values[node.input[2]].dtype) for node in quantisers} == {encoding.activations}
        assert all(read.values[node.input[1]].size == 1 for node in quantisers)


def test_sixteen_bits_are_more_faithful_and_use_the_operators_that_the_opset_has(samples):
    models = [emit(nets.int8(branches(), samples, each)) for each in (QNN, QNN_A16)]
    truth = answers(branches(), samples, fused=False)
    eight, sixteen = (sqnr_db(truth, answers(model, samples, fused=False)) for model in models)
    assert sixteen > eight + 6
    assert {node.domain for node in models[1].graph.node if node.op_type == "QuantizeLinear"} == {"com.microsoft"}
    newer = onnx.version_converter.convert_version(branches(), 21)
    written = emit(nets.int8(newer, samples, QNN_A16))
    assert {node.domain for node in written.graph.node} == {""}
    assert sqnr_db(truth, answers(written, samples, fused=False)) > eight + 6


@pytest.mark.parametrize("encoding", [TRT, QNN], ids=lambda each: each.name)
def test_a_file_for_others_says_that_nobody_looked(samples, tmp_path, encoding):
    made = nets.quantise(
        branches(), samples, encoding=encoding, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path
    )
    assert any(note.startswith(f"written for {encoding.foreign}") for note in made.notes)


@given(low=st.floats(-10, 0), high=st.floats(0.01, 10), seed=st.integers(0, 99))
def test_symmetric_ranges_are_searched_as_such(low, high, seed):
    values = np.linspace(low, high, 64)
    counts = np.random.default_rng(seed).integers(1, 100, 64).astype(float)
    found = least_error_range(values, counts, low, high, TRT)
    assert found[0] == -found[1]
    assert found[1] <= max(-low, high)
