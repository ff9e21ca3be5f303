"""Equalisation, rounding, bias correction: each against what it promises."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from edgeopt.compiler.quantize import patches
from edgeopt.compiler.quantize.bias import correct_biases, layer_levels, shift_for
from edgeopt.compiler.quantize.calibrate import channel_ranges, equalised, mean_answers, observe, prepare, range_choices
from edgeopt.compiler.quantize.curve import IDENTITY, Curve, curve_behind
from edgeopt.compiler.quantize.emit import LEVELS, Scale, emit, nearest_codes, scale_for, weight_scales
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.observe import ChannelRanges, answers
from edgeopt.compiler.quantize.patches import Moments, Sampler
from edgeopt.compiler.quantize.ranges import Histograms, head_scale
from edgeopt.compiler.quantize.rounding import rounded_codes
from tests.unit.compiler.quantize import nets

UNIT = Scale(scale=np.ones(1, np.float32), zero=np.zeros(1, np.int32))


def gemm(weight, bias=None):
    weight = np.asarray(weight, np.float32)
    bias = np.zeros(len(weight), np.float32) if bias is None else np.asarray(bias, np.float32)
    return Layer(name="g", kind="Gemm", source="x", product="y", linear="y", out="y", weight=weight, bias=bias)


def uneven(chain, name, factors):
    """The model of a chain, with the channels of one layer's answer scaled apart."""
    model = chain.model()
    for tensor in model.graph.initializer:
        if tensor.name in (f"{name}_w", f"{name}_b"):
            values = onnx.numpy_helper.to_array(tensor)
            scaled = values * np.asarray(factors, np.float32).reshape(-1, *[1] * (values.ndim - 1))
            tensor.CopyFrom(onnx.numpy_helper.from_array(scaled, tensor.name))
    return model


CHAINS = {
    "relu": lambda: nets.Chain().conv(4).op("Relu").conv(4),
    "clip": lambda: nets.Chain().conv(4).clip(6.0).conv(4),
    "depthwise": lambda: nets.Chain().conv(4).op("Relu").conv(4, group=4).op("Relu").conv(4),
    "grouped": lambda: nets.Chain().conv(4).op("Relu").conv(6, group=2).op("Relu").conv(4),
    "pooled": lambda: nets.Chain().conv(4).op("Relu").op("MaxPool", kernel_shape=[2, 2]).conv(4),
    "dense": lambda: nets.Chain().conv(4).op("LeakyRelu").op("GlobalAveragePool").gemm(5),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_an_equalised_network_computes_the_same(kind, tmp_path):
    model = uneven(CHAINS[kind](), "t0", [1, 0.3, 0.05, 0.01])
    samples = nets.feeds(tmp_path)
    prepared = prepare(model)
    lifted, _, count = equalised(prepared, channel_ranges(prepared, samples))
    assert count
    truth = answers(model, samples, fused=False)
    assert sqnr_db(truth, answers(lifted.graph.model, samples, fused=False)) > 100


def test_equalisation_lifts_small_channels_and_makes_none_smaller(tmp_path):
    samples = nets.feeds(tmp_path)
    prepared = prepare(uneven(CHAINS["relu"](), "t0", [1, 0.3, 0.05, 0.01]))
    before = channel_ranges(prepared, samples)
    lifted, after, _ = equalised(prepared, before)
    out = prepared.layers[0].out
    assert (after.high[out] >= before.high[out]).all()
    assert after.high[out].max() / after.high[out].min() < before.high[out].max() / before.high[out].min() / 3
    np.testing.assert_allclose(channel_ranges(lifted, samples).high[out], after.high[out], rtol=1e-4)


def test_what_a_concat_joins_is_divided_at_its_own_place(tmp_path):
    chain = nets.Chain().conv(4).op("Relu")
    left = chain.tensor
    chain.tensor, chain.channels = "x", 3
    chain.conv(2).op("Relu").op("Concat", left, axis=1)
    chain.channels = 6
    model = uneven(chain.conv(4), "t0", [1, 0.2, 0.1, 0.01])
    samples = nets.feeds(tmp_path)
    prepared = prepare(model)
    lifted, _, count = equalised(prepared, channel_ranges(prepared, samples))
    assert count == 2
    assert sqnr_db(answers(model, samples, fused=False), answers(lifted.graph.model, samples, fused=False)) > 100


def test_what_a_sum_or_an_output_reads_is_left_alone(tmp_path):
    chain = nets.Chain().conv(4).op("Relu")
    left = chain.tensor
    prepared = prepare(chain.conv(4).op("Add", left).conv(4).model())
    _, _, count = equalised(prepared, channel_ranges(prepared, nets.feeds(tmp_path)))
    assert count == 0


def change(layer, codes, steps, moments):
    """Mean squared change of the layer's answer."""
    error = codes.reshape(layer.channels, -1) * steps[:, None] - layer.weight.reshape(layer.channels, -1)
    return np.einsum("oi,ij,oj->", error, moments, error)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), inputs=st.integers(1, 12), outputs=st.integers(1, 6))
def test_rounding_never_changes_the_answer_more_than_nearest_does(seed, inputs, outputs):
    chooser = np.random.default_rng(seed)
    layer = gemm(chooser.standard_normal((outputs, inputs)))
    mixing = chooser.standard_normal((inputs, inputs))
    moments = (mixing @ mixing.T).astype(np.float32)
    steps = weight_scales(layer, UNIT) * 8  # few levels, so that there is something to gain
    codes = rounded_codes(layer, steps, moments[None], UNIT)
    noisy = moments + np.eye(inputs) * (1 / 12 + 1e-3 * np.mean(np.diag(moments)))
    assert (
        change(layer, codes, steps, noisy)
        <= change(layer, nearest_codes(layer, steps), steps, noisy) * (1 + 1e-3) + 1e-6
    )


def test_rounding_gains_where_inputs_move_together():
    layer = gemm([[0.4, 0.4]])
    steps = np.ones(1, np.float32)
    together = np.array([[[100.0, 100.0], [100.0, 100.0]]], np.float32)
    assert nearest_codes(layer, steps).sum() == 0
    assert rounded_codes(layer, steps, together, UNIT).sum() == 1


def test_what_was_zero_in_every_sample_is_not_mute_for_the_next_one():
    channels = head_scale(np.zeros(3, np.float32), np.asarray([0.0, 2.0, 1.0], np.float32))
    assert channels.scale[0] == channels.scale.max()
    assert scale_for(0.0, 0.0).scale[0] * LEVELS == pytest.approx(1.0)
    assert head_scale(np.zeros(3, np.float32), np.zeros(3, np.float32)).scale * LEVELS == pytest.approx(1.0)


def test_a_dead_channel_with_a_bias_does_not_overflow():
    """Failure book: a per-channel scale of almost nothing makes an int32 bias of almost infinity (ORT#22020)."""
    layer = gemm([[1e-12, 0.0], [1.0, 1.0]], [3.0, 3.0])
    steps = weight_scales(layer, UNIT)
    assert np.abs(layer.bias / steps).max() <= 2**30 * 1.001


CURVES = [IDENTITY, Curve(below=0.0), Curve(below=0.0, high=1.0), Curve(below=0.1), Curve(gated=True)]


@pytest.mark.parametrize("curve", CURVES)
def test_a_shift_brings_the_mean_behind_the_activation_back(curve):
    truth = np.random.default_rng(0).standard_normal((3, 4000)) + np.array([[0.0], [0.3], [-0.3]])
    shift = shift_for(truth - np.array([[0.2], [-0.1], [0.05]]), curve.apply(truth).mean(axis=1), curve)
    np.testing.assert_allclose(shift, [0.2, -0.1, 0.05], atol=0.01)


def test_a_shift_is_bounded_by_half_a_deviation():
    answers_ = np.random.default_rng(0).standard_normal((1, 1000))
    assert abs(shift_for(answers_, np.array([50.0]), IDENTITY)[0]) <= 0.5 * answers_.std() + 1e-6


def test_curves_are_what_they_say():
    y = np.array([-2.0, -0.5, 0.5, 9.0])
    np.testing.assert_allclose(Curve(below=0.0, high=6.0).apply(y), [0, 0, 0.5, 6])
    np.testing.assert_allclose(Curve(below=0.1).apply(y), [-0.2, -0.05, 0.5, 9], rtol=1e-6)
    np.testing.assert_allclose(Curve(gated=True).apply(y), y * expit(y))
    for curve in CURVES:
        slope = (curve.apply(y + 1e-4) - curve.apply(y - 1e-4)) / 2e-4
        np.testing.assert_allclose(curve.slope(y), slope, atol=1e-3)


def test_silu_is_recognised_and_a_foreign_gate_is_not():
    chain = nets.Chain().conv(4)
    linear = chain.tensor
    silu = prepare(chain.op("Sigmoid").op("Mul", linear).conv(4).model()).graph
    assert curve_behind(silu, linear) == Curve(gated=True)
    chain = nets.Chain().conv(4)
    linear = chain.tensor
    other = prepare(chain.op("Sigmoid").op("Mul", linear).op("Add", linear).conv(4).model()).graph
    assert curve_behind(other, linear) == IDENTITY


def test_bias_correction_brings_channel_means_back(tmp_path):
    samples = nets.feeds(tmp_path)
    prepared = prepare(nets.classifier())
    observed = observe(prepared, channel_ranges(prepared, samples), samples, looked_at=samples.count)
    network = nets.int8(nets.classifier(), samples, correct=False)
    for layer in network.layers:
        layer.bias = layer.bias + np.float32(0.05)
    targets = mean_answers(observed, samples.count)
    truth = answers(nets.classifier(), samples, fused=False)
    broken = sqnr_db(truth, answers(emit(network), samples, fused=False))
    correct_biases(network, observed.samplers, targets, samples)
    assert sqnr_db(truth, answers(emit(network), samples, fused=False)) > broken + 5


def test_branches_of_one_depth_are_corrected_together():
    chain = nets.Chain().conv(4).op("Relu")
    left = chain.tensor
    chain.conv(4)
    second = chain.tensor
    chain.tensor = left
    prepared = prepare(chain.conv(4).op("Add", second).model())
    assert [len(level) for level in layer_levels(prepared.graph, prepared.layers)] == [1, 2]


@pytest.mark.parametrize(("stride", "group", "kernel"), [(1, 1, 3), (2, 1, 3), (1, 4, 3), (1, 2, 1)])
def test_patches_times_weights_are_the_layers_answer(tmp_path, stride, group, kernel):
    chain = nets.Chain(channels=4).conv(4, stride=stride, group=group, kernel=kernel)
    prepared = prepare(chain.model())
    layer = prepared.layers[0]
    x = np.random.default_rng(0).standard_normal((1, 4, nets.SIZE, nets.SIZE)).astype(np.float32)
    (answer,) = answers(prepared.graph.model, [{"x": x}], fused=False)[0]
    sampler = Sampler(prepared.graph, layer, 0)
    patches = sampler.patches(x, answer.shape)
    weight = layer.weight.reshape(group, layer.channels // group, -1)
    got = np.matmul(weight, patches).reshape(layer.channels, -1) + layer.bias[:, None]
    np.testing.assert_allclose(got, sampler.look(answer), atol=1e-5)


def test_moments_are_a_covariance():
    values = np.random.default_rng(0).standard_normal((1, 3, 500)) + 5
    moments = Moments()
    for part in np.split(values, 5, axis=2):
        moments.add(part)
    np.testing.assert_allclose(moments.covariance()[0], np.cov(values[0], bias=True), atol=1e-4)
    assert Moments().covariance() is None


def test_columns_of_wide_layers_are_gathered(monkeypatch):
    """A few at a time or all at once: the same moments, whenever they are asked for."""
    values = np.random.default_rng(0).standard_normal((2, 6, 50)) + 5
    expected = [np.cov(each, bias=True) for each in values]
    monkeypatch.setattr(patches, "WIDE", 6)
    monkeypatch.setattr(patches, "TOGETHER", 20)
    moments = Moments()
    for number, part in enumerate(np.split(values, 10, axis=2), 1):
        moments.add(part)
        seen = values[:, :, : 5 * number]
        if number in (1, 3, 10):
            np.testing.assert_allclose(moments.covariance(), [np.cov(each, bias=True) for each in seen], atol=1e-4)
    np.testing.assert_allclose(moments.covariance(), expected, atol=1e-4)
    assert moments.count == 50


def test_least_error_ranges_ignore_a_lone_outlier(tmp_path):
    samples = nets.feeds(tmp_path)
    prepared = prepare(nets.classifier())
    ranges = channel_ranges(prepared, samples)
    first = prepared.placement.group[prepared.layers[0].source]
    ranges.high[first] = ranges.high[first] * 0 + 1000
    observed = observe(prepared, ranges, samples, looked_at=1)
    observed.ranges.high[first] = ranges.high[first]
    choices = range_choices(observed)
    assert choices["least-error ranges"][first].scale[0] < choices["full ranges"][first].scale[0] / 2


def test_histograms_do_not_depend_on_the_order_in_which_tensors_are_named(monkeypatch):
    """They are named by a set, whose order changes from process to process, and all draw from one generator."""
    monkeypatch.setattr("edgeopt.compiler.quantize.ranges.LOOKED_AT", 16)
    generator = np.random.default_rng(0)
    tensors = {name: generator.standard_normal((1, 4, 64)).astype(np.float32) for name in "abc"}
    ranges = ChannelRanges()
    ranges.visit(0, tensors)
    forward, backward = Histograms(ranges, "abc"), Histograms(ranges, "cba")
    for number in range(3):
        forward.visit(number, tensors)
        backward.visit(number, tensors)
    assert all(np.array_equal(forward.counts[name], backward.counts[name]) for name in "abc")
