"""Placement, the fusion gate, and the ladder as a whole; the failure book of int8 as tests."""

from __future__ import annotations

import itertools
from statistics import fmean

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.quantize.budgets import BUDGETS
from edgeopt.compiler.quantize.calibrate import channel_ranges, keep_far_joins_float, prepare
from edgeopt.compiler.quantize.emit import emit
from edgeopt.compiler.quantize.encoding import S8S8, U8S8, U8S8_7BIT, U8U8
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.quantize.ladder import affordable, sqnr_db
from edgeopt.compiler.quantize.mixed import conversions, non_decreasing, without, worth_float
from edgeopt.compiler.quantize.observe import ChannelRanges, answers
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds
from edgeopt.compiler.widen import widen
from tests import models
from tests.unit.compiler.quantize import nets


def decided(network, judge, share):
    """With one judge of everything."""
    return worth_float(network, judge, judge, share)


def judge_of_left(network, gains):
    """20 dB, and what is gained by the layers that are not int8."""

    def of(model):
        held = {tensor.name for tensor in model.graph.initializer}
        return 20.0 + gains({layer.name for layer in network.layers if f"{layer.name}_w_codes" not in held})

    return of


def made(model, tmp_path, *, count=24, float_first=0, budget="standard", encoding=U8S8, **options):
    samples = nets.feeds(tmp_path, count=count)
    return nets.quantise(
        model,
        samples,
        encoding=encoding,
        float_first=float_first,
        budget=BUDGETS[budget],
        scratch=tmp_path,
        **options,
    )


@pytest.mark.parametrize("encoding", [U8S8, S8S8, U8S8_7BIT, U8U8], ids=lambda each: each.name)
def test_everything_fuses_under_the_rules_of_its_own_cpu(tmp_path, encoding):
    result = made(nets.classifier(), tmp_path, encoding=encoding)
    arm = encoding is S8S8
    share = result.coverage.arm_share if arm else result.coverage.x86_share
    assert share == 1.0
    assert result.coverage.fused(arm=arm) == 4


def test_signed_activations_may_not_fuse_on_x86(tmp_path):
    """What makes a plain S8S8 file slower than float there: the runtime turns signed into unsigned only along plain chains. The file says so, product by product."""
    chain = nets.Chain().conv(4).op("Relu").conv(4).op("Relu")
    left = chain.tensor
    model = chain.conv(4).op("Relu").op("Concat", left, axis=1).model()
    covered = coverage(emit(nets.int8(model, nets.feeds(tmp_path)), S8S8), tmp_path)
    assert covered.fused(arm=True) == 3
    assert covered.fused(arm=False) < 3
    assert any(product.reason and "do not fuse" in product.reason for product in covered.products)


def test_the_notes_say_what_was_tried_and_chosen(tmp_path):
    result = made(nets.classifier(), tmp_path, count=100)
    assert sum(note.startswith("tried:") for note in result.notes) >= 2
    assert sum(note.startswith("chosen:") for note in result.notes) == 1
    assert any("run in int8" in note for note in result.notes)


def test_the_same_samples_give_the_same_file(tmp_path):
    first, second = (made(nets.classifier(), tmp_path, budget="instant").model.SerializeToString() for _ in range(2))
    assert first == second


def test_a_float_stem_keeps_the_first_layers_as_they_are(tmp_path):
    result = made(nets.classifier(), tmp_path, float_first=2)
    assert [product.x86 for product in result.coverage.products] == [False, False, True, True]
    assert "weights are float" in result.coverage.products[0].reason
    assert any("2 layers stay float" in note for note in result.notes)


def test_a_float_stem_takes_every_branch_of_a_depth(tmp_path):
    """As in ShuffleNet: one branch in int8 would round the stem's answer for both."""
    chain = nets.Chain().conv(4).op("Relu")
    stem = chain.tensor
    left = chain.conv(4).op("Relu").tensor
    chain.tensor = stem
    chain.conv(4).op("Relu").op("Concat", left, axis=1)
    chain.channels = 8
    model = chain.conv(4).op("Relu").conv(4).model()
    result = made(model, tmp_path, float_first=2)
    assert [product.x86 for product in result.coverage.products] == [False, False, False, True, True]
    assert any("3 layers stay float" in note for note in result.notes)


def test_a_network_without_layers_is_refused(tmp_path):
    with pytest.raises(Refused, match="nothing in the graph could be quantised"):
        made(nets.Chain().op("Relu").model(), tmp_path)


def test_an_answer_that_is_no_number_is_never_the_best():
    good, bad = [[np.ones(2, np.float32)]], [[np.array([1, np.nan], np.float32)]]
    assert sqnr_db(good, bad) == -np.inf
    assert sqnr_db(good, good) == np.inf


def test_boxes_and_scores_in_one_concat_stay_float(tmp_path):
    """Failure book: 640 to 1 in one scale leaves the scores nothing (ORT#10787)."""
    chain = nets.Chain().conv(4).op("Relu")
    shared = chain.tensor
    boxes = chain.conv(4).tensor
    chain.tensor = shared
    model = chain.conv(4).op("Concat", boxes, axis=1).op("MaxPool", kernel_shape=[1, 1]).model()
    joined = chain.nodes[-2].output[0]
    chain.channels = 8
    for tensor in model.graph.initializer:
        if tensor.name.startswith(boxes):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(640)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    model = nets.shape_inference.infer_shapes(model)
    tail, constants = nets.conv(chain.tensor, "last", 4, 8)
    model.graph.node.append(tail)
    model.graph.initializer.extend(constants)
    model.graph.output[0].name = "last"
    model = nets.shape_inference.infer_shapes(model)
    samples = nets.feeds(tmp_path)
    prepared = prepare(model)
    assert joined in prepared.placement.nodes
    assert keep_far_joins_float(prepared, channel_ranges(prepared, samples)) == 1
    assert joined not in prepared.placement.nodes


def test_silu_stays_in_int8_and_near_the_float_network(tmp_path):
    """Failure book: a Sigmoid and a product between layers, lopsided ranges."""
    chain = nets.Chain().conv(8)
    for _ in range(3):
        linear = chain.tensor
        chain.op("Sigmoid").op("Mul", linear).conv(8)
    result = made(chain.model(), tmp_path)
    samples = nets.feeds(tmp_path, seed=3)
    assert result.coverage.x86_share == 1.0
    assert sqnr_db(answers(chain.model(), samples, fused=False), answers(result.model, samples, fused=True)) > 20


def test_a_depthwise_network_survives(tmp_path):
    """Failure book: per-tensor weights behind a folded batch norm collapse; per-channel ones, equalised, must not."""
    chain = nets.Chain().conv(8).clip()
    for _ in range(3):
        chain.conv(8, group=8, scale=0.6).clip().conv(8, kernel=1, scale=0.6).clip()
    model = chain.op("GlobalAveragePool").gemm(5).model()
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4 and tensor.dims[1] == 1:
            values = numpy_helper.to_array(tensor) * np.logspace(-2, 0.5, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    samples = nets.feeds(tmp_path, seed=3)
    truth = answers(model, samples, fused=False)
    assert sqnr_db(truth, answers(made(model, tmp_path).model, samples, fused=True)) > 20


def test_a_matrix_product_with_a_bias_becomes_one_int8_product(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["b", "p"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], alpha=0.5, beta=2.0),
    ]
    constants = [
        models.weights("w", 6, 5),
        models.weights("b", 1, 5),
        models.weights("w2", 5, 4),
        models.weights("b2", 1, 4),
    ]
    model = models.make(nodes, [models.value("x", ["n", 6])], [models.value("y", ["n", 4])], constants)
    samples = nets.feeds(tmp_path, shape=(2, 6))
    result = nets.quantise(model, samples, encoding=U8S8, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path)
    assert [product.kind for product in result.coverage.products] == ["Gemm", "Gemm"]
    assert result.coverage.x86_share == 1.0
    truth = answers(model, samples, fused=False)
    assert sqnr_db(truth, answers(result.model, samples, fused=True)) > 30


def test_products_that_int8_cannot_help_stay_as_they_are(tmp_path):
    """Two computed factors, and a Gemm whose first factor is transposed."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"], transB=1),
        helper.make_node("MatMul", ["g", "x"], ["m"]),
        helper.make_node("Gemm", ["m", "w2"], ["y"], transA=1),
    ]
    constants = [models.weights("w", 4, 4), models.weights("b", 4), models.weights("w2", 4, 4)]
    model = models.make(nodes, [models.value("x", [4, 4])], [models.value("y", [4, 4])], constants)
    samples = nets.feeds(tmp_path, shape=(4, 4))
    result = nets.quantise(model, samples, encoding=U8S8, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path)
    reasons = [product.reason for product in result.coverage.products]
    assert [reason is None for reason in reasons] == [True, False, False]
    assert "second factor is computed" in reasons[1] or "computed while running" in reasons[1]


def test_few_samples_are_not_divided_and_one_is_enough(tmp_path):
    assert "ranges and rounding from 1 samples" in made(nets.classifier(), tmp_path, count=1).notes[0]


def half(model):
    """The model with weights, input and output in float16."""
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for v in (*model.graph.input, *model.graph.output):
        v.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def test_a_half_precision_network_is_widened_and_keeps_its_signature(tmp_path):
    chain = nets.Chain().conv(4).op("Relu").conv(4)
    narrow = half(chain.model())
    path = tmp_path / "half.onnx"
    onnx.save(narrow, path)
    wide = onnx.load(path)
    assert widen(wide)
    onnx.checker.check_model(wide)
    assert [v.type.tensor_type.elem_type for v in (*wide.graph.input, *wide.graph.output)] == [TensorProto.FLOAT16] * 2
    assert {t.data_type for t in wide.graph.initializer} == {TensorProto.FLOAT}
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float16)
    narrow_says, wide_says = (answers(m, [{"x": x}], fused=False)[0][0] for m in (narrow, wide))
    np.testing.assert_allclose(wide_says.astype(np.float32), narrow_says.astype(np.float32), atol=2e-2)


def test_a_float32_network_has_nothing_to_widen():
    model = nets.classifier()
    before = model.SerializeToString()
    assert not widen(model)
    assert model.SerializeToString() == before


def test_a_pointwise_head_answers_in_float(tmp_path):
    """Averaged class scores below half a step would be lost if they were rounded first."""
    model = nets.Chain().conv(8).op("Relu").conv(6, kernel=1).op("Relu").op("GlobalAveragePool").model()
    result = made(model, tmp_path)
    assert "Gemm" in [product.kind for product in result.coverage.products]
    assert result.coverage.x86_share == 1.0
    samples = nets.feeds(tmp_path, seed=5)
    assert sqnr_db(answers(model, samples, fused=False), answers(result.model, samples, fused=True)) > 30


def text_net():
    """Embeddings of three axes through two products by matrices, one without a bias, and a residual sum; the length is open."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["p1"]),
        helper.make_node("Add", ["b1", "p1"], ["s1"]),
        helper.make_node("Relu", ["s1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["p2"]),
        helper.make_node("Add", ["p2", "x"], ["y"]),
    ]
    constants = [models.weights("w1", 6, 12), models.weights("b1", 12), models.weights("w2", 12, 6)]
    return models.make(nodes, [models.value("x", [1, "t", 6])], [models.value("y", [1, "t", 6])], constants)


def test_products_over_sequences_of_any_length_become_int8(tmp_path):
    chooser = np.random.default_rng(0)
    rows = {f"s{i}.0": chooser.standard_normal((1, 3 + i % 5, 6)).astype(np.float32) for i in range(20)}
    np.savez(tmp_path / "texts.npz", **rows)
    samples = Feeds(tmp_path / "texts.npz", ["x"], 20)
    result = nets.quantise(
        text_net(), samples, encoding=U8S8, float_first=0, budget=BUDGETS["standard"], scratch=tmp_path
    )
    assert [product.x86 for product in result.coverage.products] == [True, True]
    assert sqnr_db(answers(text_net(), samples, fused=False), answers(result.model, samples, fused=True)) > 30


def test_layers_that_hurt_most_stay_float_within_the_share(tmp_path):
    """A narrow layer with few multiplications and coarse answers; leaving it in float must help, and cost no more than allowed."""
    chain = nets.Chain().conv(8).op("Relu").conv(2, kernel=1).conv(16).op("Relu").conv(16).op("Relu")
    model = chain.op("GlobalAveragePool").gemm(5).model()
    samples = nets.feeds(tmp_path, count=48)
    plain, mixed = (
        nets.quantise(
            model,
            samples,
            encoding=U8S8,
            float_first=0,
            budget=BUDGETS["standard"],
            scratch=tmp_path,
            float_share=share,
        )
        for share in (0.0, 0.3)
    )
    assert mixed.coverage.x86_share is not None
    assert 0.7 <= mixed.coverage.x86_share < 1.0
    assert any(note.startswith("float, +") for note in mixed.notes)
    judges = nets.feeds(tmp_path, seed=9)
    truth = answers(model, judges, fused=False)
    plain_db, mixed_db = (sqnr_db(truth, answers(made_.model, judges, fused=True)) for made_ in (plain, mixed))
    assert mixed_db > plain_db


def test_a_stem_is_left_in_float_rather_than_scattered_layers_that_gain_little_more(tmp_path):
    """Every scattered layer stands between two conversions."""
    chain = nets.Chain().conv(4).op("Relu").conv(8).op("Relu").conv(8).op("Relu").conv(8)
    network = nets.int8(chain.model(), nets.feeds(tmp_path))
    names = [layer.name for layer in network.layers]

    judge = judge_of_left(network, lambda left: 2.0 * (names[0] in left) + 0.5 * (names[2] in left))
    stem = decided(network, judge, 0.6)
    assert stem is not None
    assert stem.layers == {names[0]}
    scattered = decided(network, judge_of_left(network, lambda left: 2.0 * (names[2] in left)), 0.6)
    assert scattered is not None
    assert scattered.layers == {names[2]}
    assert decided(network, judge_of_left(network, lambda _: 0.0), 0.6) is None


def hourglass(tmp_path):
    """Five layers; the second answers with 16 channels, the third with 2."""
    chain = nets.Chain().conv(4).op("Relu").conv(16).op("Relu").conv(2, kernel=1).op("Relu").conv(16).op("Relu")
    network = nets.int8(chain.conv(4, kernel=1).model(), nets.feeds(tmp_path))
    return network, [layer.name for layer in network.layers]


def test_of_stems_that_gain_alike_the_one_with_few_values_behind_it_is_cheapest(tmp_path):
    """One layer more costs less than bringing eight times the values into int8."""
    network, names = hourglass(tmp_path)
    stem = decided(network, judge_of_left(network, lambda left: 2.0 * (names[1] in left)), 0.7)
    assert stem is not None
    assert stem.layers == set(names[:3])
    assert stem.words == "a stem 3 layers deep"


@pytest.mark.parametrize(("more", "depth"), [(0.7, 1), (0.8, 3)])
def test_a_deeper_stem_must_gain_more_than_other_samples_would_say(tmp_path, more, depth):
    network, names = hourglass(tmp_path)
    judge = judge_of_left(network, lambda left: 3.0 * (names[0] in left) + more * (names[2] in left))
    stem = decided(network, judge, 0.7)
    assert stem is not None
    assert stem.layers == set(names[:depth])


def test_a_gain_that_deeper_stems_do_not_have_is_taken_for_chance(tmp_path):
    """More layers in float do not harm: what the first seems to gain alone, it gains by luck."""
    network, names = hourglass(tmp_path)
    judge = judge_of_left(
        network, lambda left: 2.0 * (names[0] in left) - 1.5 * (names[1] in left) + 2.0 * (set(names[1:3]) <= left)
    )
    stem = decided(network, judge, 0.7)
    assert stem is not None
    assert stem.layers == set(names[:3])


def test_the_deepest_stem_may_seem_to_gain_less_than_the_others(tmp_path):
    network, names = hourglass(tmp_path)
    judge = judge_of_left(network, lambda left: 3.0 * (names[0] in left) - 2.9 * (names[2] in left))
    stem = decided(network, judge, 0.7)
    assert stem is not None
    assert stem.layers == set(names[:1])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_the_nearest_values_that_never_fall(values):
    fitted = non_decreasing(values)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(fitted))
    assert sum(fitted) == pytest.approx(sum(values), abs=1e-9)
    assert non_decreasing(sorted(values)) == pytest.approx(sorted(values))
    distance = sum((a - b) ** 2 for a, b in zip(values, fitted, strict=True))
    others = [sorted(values), [fmean(values)] * len(values), list(itertools.accumulate(values, max))]
    assert all(distance <= sum((a - b) ** 2 for a, b in zip(values, o, strict=True)) + 1e-9 for o in others)


def test_layers_that_few_samples_praise_and_many_do_not_stay_int8(tmp_path):
    """Otherwise what stays in float would cost time and faithfulness."""
    network, names = hourglass(tmp_path)
    few, many = (judge_of_left(network, lambda left, each=each: each * (names[2] in left)) for each in (0.5, -0.4))
    assert worth_float(network, few, many, 0.7) is None
    assert worth_float(network, few, few, 0.05).layers == {names[2]}


def test_a_cheaper_stem_must_gain_something(tmp_path):
    network, names = hourglass(tmp_path)
    judge = judge_of_left(network, lambda left: 0.1 * (names[0] in left) + 0.4 * (names[2] in left))
    stem = decided(network, judge, 0.7)
    assert stem is not None
    assert stem.layers == set(names[:3])


def test_scattered_layers_must_gain_more_than_the_best_stem_not_than_the_cheapest(tmp_path):
    network, names = hourglass(tmp_path)
    last = names[-1]
    judge = judge_of_left(
        network,
        lambda left: (
            3.0 * (names[0] in left)
            + 0.7 * (names[2] in left)
            + 3.7 * (last in left)
            - 3.0 * ({names[0], last} <= left)
        ),
    )
    stem = decided(network, judge, 0.7)
    assert stem is not None
    assert stem.words.startswith("a stem")


def test_what_comes_into_int8_is_counted_by_its_values(tmp_path):
    """The input, and what stands behind a stem; what int8 layers make is int8 already."""
    network, names = hourglass(tmp_path)
    assert conversions(network) == 40 * 3 * 64
    assert conversions(without(network, set(names[:1]))) == 40 * 4 * 64
    assert conversions(without(network, set(names[:2]))) == 40 * 16 * 64
    assert conversions(without(network, {names[2]})) == 40 * (3 + 2) * 64


def test_of_layers_that_help_alone_those_are_given_back_that_gain_nothing_beside_the_others(tmp_path):
    chain = nets.Chain().conv(4).op("Relu").conv(8).op("Relu").conv(8).op("Relu").conv(8)
    network = nets.int8(chain.model(), nets.feeds(tmp_path))
    first, _, one, other = [layer.name for layer in network.layers]

    def judge(gains):
        """A stem in float harms: it is about scattered layers."""
        return judge_of_left(network, lambda left: gains(left) - 5.0 * (first in left))

    either = decided(network, judge(lambda left: 2.0 * bool({one, other} & left)), 0.9)
    assert either is not None
    assert len(either.layers) == 1
    both = decided(network, judge(lambda left: 2.0 * len({one, other} & left)), 0.9)
    assert both is not None
    assert both.layers == {one, other}
    assert both.gain_db == pytest.approx(4.0)


def test_where_no_layer_in_float_would_help_the_recipe_says_so(tmp_path):
    with pytest.raises(Refused, match="would help in float"):
        nets.quantise(
            nets.Chain().conv(4).model(),
            nets.feeds(tmp_path),
            encoding=U8S8,
            float_first=0,
            budget=BUDGETS["standard"],
            scratch=tmp_path,
            float_share=0.1,
        )


def test_weights_in_constant_nodes_are_weights(tmp_path):
    """Files that nobody has tidied hold them so."""
    model = models.conv_net(batch=1)
    held = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    model.graph.initializer.remove(held)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w2"], value=held))
    found = {product.name: product.reason for product in coverage(model, tmp_path).products}
    assert "its weights are float" in found["conv2"]


@settings(max_examples=30, deadline=None)
@given(size=st.sampled_from([8, 32, 128]), count=st.integers(1, 500), name=st.sampled_from(sorted(BUDGETS)))
def test_biases_see_as_many_samples_as_the_budget_has_work_for_on_whatever_computer(size, count, name):
    budget = BUDGETS[name]
    prepared = prepare(nets.Chain(size=size).conv(4).op("Relu").conv(4).model())
    elements = {layer.out: 4.0 * size * size for layer in prepared.layers}
    many = affordable(prepared, elements, budget, count)
    assert min(16, count) <= many <= min(budget.samples, count)
    assert affordable(prepared, {name: 1e9 * each for name, each in elements.items()}, budget, count) == min(16, count)


def test_inputs_of_changing_length_count_with_their_mean_size():
    ranges = ChannelRanges()
    for length in (2, 4, 6):
        ranges.visit(0, {"x": np.ones((1, 3, length), np.float32)})
    assert ranges.elements == {"x": pytest.approx(12.0)}
