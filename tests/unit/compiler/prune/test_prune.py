"""Pruning from end to end on small networks, and the parts that decide: least squares, costs, damage, blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeopt.compiler.prune import run
from edgeopt.compiler.prune.blocks import as_one_convolution, find_blocks, without_block
from edgeopt.compiler.prune.budgets import BUDGETS
from edgeopt.compiler.prune.cost import CostModel, Rates, rates_of
from edgeopt.compiler.prune.damage import Damage, Judge
from edgeopt.compiler.prune.gram import Consumer, observe
from edgeopt.compiler.prune.low_rank import low_rank
from edgeopt.compiler.prune.network import Network
from edgeopt.compiler.prune.refit import refit
from edgeopt.compiler.prune.run import prune
from edgeopt.compiler.quantize.graph import Graph
from edgeopt.compiler.refuse import Refused
from tests.models import make, value, weights
from tests.unit.compiler.prune.nets import attention, between, feeds, op, residual

STANDARD = BUDGETS["standard"]


def pruned(model, samples, latency=0.8, block=2, budget="standard", **options):
    return prune(
        model, samples, latency=latency, block=block, rates=Rates(call=0.01), budget=BUDGETS[budget], **options
    )


def spare(width=16, useful=8):
    """A network in which half of the channels of every layer are sums of the others: nothing is lost with them."""
    model = residual(blocks=1, width=width)
    generator = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name in ("c0_w", "c0_b"):
            whole = numpy_helper.to_array(tensor).copy()
            whole[useful:] = whole[:useful] * generator.uniform(0.5, 2.0)
            tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))
    return model


def test_channels_that_others_can_stand_for_go_without_a_trace(tmp_path):
    made = pruned(spare(), feeds(tmp_path), latency=0.9)
    judge = Judge(spare(), feeds(tmp_path, seed=5))
    assert judge.damage(made.model).value < 1e-6
    assert judge.damage(made.model).agreement == 1.0
    assert "c0 16 to" in made.notes[0]
    onnx.checker.check_model(made.model, full_check=True)


def test_the_same_samples_give_the_same_bytes(tmp_path):
    first, second = (pruned(residual(), feeds(tmp_path)) for _ in range(2))
    assert first.model.SerializeToString(deterministic=True) == second.model.SerializeToString(deterministic=True)
    assert first.notes == second.notes


def test_the_model_that_came_is_not_changed(tmp_path):
    model = residual()
    before = model.SerializeToString()
    pruned(model, feeds(tmp_path))
    assert model.SerializeToString() == before


def test_choosing_by_answers_beats_choosing_by_magnitude(tmp_path):
    samples, fresh = feeds(tmp_path, 64), Judge(spare(), feeds(tmp_path, 33, seed=9))
    ours = fresh.damage(pruned(spare(), samples, latency=0.85).model).value
    theirs = fresh.damage(pruned(spare(), samples, latency=0.85, by_magnitude=True).model).value
    assert ours < theirs


def test_transformers_lose_heads_or_width(tmp_path):
    made = pruned(attention(), feeds(tmp_path, shape=(1, 6, 16)), latency=0.9, block=4)
    assert len(made.model.SerializeToString()) < len(attention().SerializeToString())


@pytest.mark.parametrize(
    ("model", "count", "code"),
    [
        (between([op("Softmax", ["a"], "m", axis=1)]), 32, "nothing-to-do"),
        (residual(), 4, "samples-missing"),
    ],
)
def test_refusals_say_why(tmp_path, model, count, code):
    with pytest.raises(Refused) as refused:
        pruned(model, feeds(tmp_path, count))
    assert refused.value.code == code
    assert str(refused.value)


def test_a_network_with_nothing_to_spare_is_refused_with_its_figure(tmp_path, monkeypatch):
    """Few channels, and half of them at a time: some damage, and here none is borne."""
    monkeypatch.setattr(run, "MOST_NOISE", 0.01)
    model = between([op("Relu", ["a"], "m")], width=6)
    with pytest.raises(Refused, match=r"nothing to spare.*dB") as refused:
        pruned(model, feeds(tmp_path), latency=0.4, block=3)
    assert refused.value.code == "nothing-to-spare"


def test_least_squares_are_those_of_the_textbook(tmp_path):
    network = Network.of(residual(blocks=1, width=6))
    layer = network.layers["d0"]
    statistics = observe(network.graph, [layer], feeds(tmp_path))["d0"]
    consumer = Consumer(layer, statistics, np.zeros(54, bool), np.ones(6, bool))
    columns = np.arange(9, 18)
    foretold = consumer.errors(columns[None])[0] * consumer.energy
    consumer.remove(columns)
    kept = np.setdiff1d(np.arange(54), columns)
    whole, ridged = layer.weight.reshape(6, -1).astype(float), statistics.ridged()
    best = whole @ ridged[:, kept] @ np.linalg.inv(ridged[np.ix_(kept, kept)])
    np.testing.assert_allclose(consumer.weight[:, kept], best, rtol=1e-6, atol=1e-9)
    change = consumer.weight - whole
    assert foretold == pytest.approx(np.trace(change @ ridged @ change.T), rel=1e-6)


def test_one_removal_after_the_other_is_the_textbook_as_well(tmp_path):
    """Also where columns had gone before; what is gone stays exactly zero, and what going costs is foretold at each step."""
    network = Network.of(residual(blocks=1, width=6))
    layer = network.layers["d0"]
    statistics = observe(network.graph, [layer], feeds(tmp_path))["d0"]
    ridged, sets = statistics.ridged(), [np.arange(9 * at, 9 * at + 9) for at in (1, 4, 2)]
    first = Consumer(layer, statistics, np.zeros(54, bool), np.ones(6, bool))
    first.remove(sets[0])
    changed = replace(layer, weight=first.weight.reshape(layer.weight.shape))
    for _ in range(2):
        gone = np.isin(np.arange(54), sets[0])
        consumer = Consumer(changed, statistics, gone, np.ones(6, bool))
        for columns in sets[1:]:
            before = consumer.weight.copy()
            foretold = consumer.errors(columns[None])[0] * consumer.energy
            consumer.remove(columns)
            change = consumer.weight - before
            assert foretold == pytest.approx(np.trace(change @ ridged @ change.T), rel=1e-5)
        kept = np.setdiff1d(np.arange(54), np.concatenate(sets))
        whole = layer.weight.reshape(6, -1).astype(float)
        best = whole @ ridged[:, kept] @ np.linalg.inv(ridged[np.ix_(kept, kept)])
        np.testing.assert_allclose(consumer.weight[:, kept], best, rtol=1e-5, atol=1e-7)
        assert not consumer.weight[:, np.concatenate(sets)].any()


def test_fitting_brings_a_disturbed_network_back(tmp_path):
    network = Network.of(residual())
    samples, judge = feeds(tmp_path, 64), Judge(residual(), feeds(tmp_path, 33, seed=4))
    disturbed = network.without((), {name: (layer.weight * 0.8, layer.bias) for name, layer in network.layers.items()})
    before = judge.damage(disturbed.model()).value
    after = judge.damage(refit(network.graph, network.rows(), disturbed.model(), samples)).value
    assert after < before / 5


def test_blocks_are_those_with_a_way_past_them():
    graph = Graph(residual())
    blocks = find_blocks(graph)
    assert [(block.total, block.source) for block in blocks] == [("s0", "r0"), ("s1", "r1")]
    smaller = without_block(residual(), blocks[0])
    onnx.checker.check_model(smaller, full_check=True)
    assert {"c0", "d0", "s0"}.isdisjoint(name for node in smaller.graph.node for name in node.output)
    assert [block.total for block in find_blocks(Graph(smaller))] == ["s1"]


def test_a_block_that_does_nothing_is_what_goes(tmp_path):
    model = residual()
    for tensor in model.graph.initializer:
        if tensor.name in ("d1_w", "d1_b"):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    made = pruned(model, feeds(tmp_path), latency=0.65)
    assert "without the block that ends in s1" in made.notes[0]


def linear():
    """Two blocks, of which the first is one convolution in truth: nothing in it is ever cut off, and its first convolution sees one pixel."""
    model = residual()
    for tensor in model.graph.initializer:
        if tensor.name == "c0_w":
            kernel = numpy_helper.to_array(tensor).copy()
            kernel[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0.0
            tensor.CopyFrom(numpy_helper.from_array(kernel, tensor.name))
        if tensor.name == "c0_b":
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, 2, np.float32), tensor.name))
    return model


def odd_ones(kernel, end):
    """A block of one convolution, and behind it `end`."""
    nodes = [op("Relu", ["a"], "r"), op("Conv", ["r", "w"], "c", pads=[0, 0, kernel - 1, kernel - 1]), *end]
    return between(
        [*nodes, op("Add", ["r", end[0].output[0] if end else "c"], "m")], [weights("w", 8, 8, kernel, kernel)]
    )


def test_a_block_may_become_one_convolution(tmp_path):
    """Of the longest kernel of the block; before it is fitted it is the way past it."""
    model = linear()
    smaller = as_one_convolution(model, find_blocks(Graph(model))[0])
    onnx.checker.check_model(smaller, full_check=True)
    assert {"c0", "q0", "d0"}.isdisjoint(name for node in smaller.graph.node for name in node.output)
    made = next(node for node in smaller.graph.node if "s0" in node.output)
    assert Network.of(smaller).layers[made.name].weight.shape == (8, 8, 3, 3)
    assert [block.total for block in find_blocks(Graph(smaller))] == ["s1"]
    without = without_block(model, find_blocks(Graph(model))[0])
    assert Judge(without, feeds(tmp_path)).damage(smaller).value < 1e-10


@pytest.mark.parametrize(
    "model", [odd_ones(3, [op("Sigmoid", ["c"], "g")]), odd_ones(2, [])], ids=["ends otherwise", "even kernel"]
)
def test_other_blocks_do_not(model):
    assert as_one_convolution(model, find_blocks(Graph(model))[0]) is None


def test_a_block_that_one_convolution_can_stand_for_becomes_it(tmp_path):
    made = pruned(linear(), feeds(tmp_path, 64), latency=0.85, block=8)
    assert "one convolution for the block that ends in s0" in made.notes[0]
    judge, without = Judge(linear(), feeds(tmp_path, seed=7)), without_block(linear(), find_blocks(Graph(linear()))[0])
    assert judge.damage(made.model).value < judge.damage(without).value / 10


@pytest.mark.parametrize(
    ("latency", "block", "channels", "goes"),
    [
        (0.8, (0.65, 0.55), (0.8, 0.5), "block"),
        (0.8, (0.65, 0.8), (0.8, 0.5), "channels"),
        (0.9, (0.82, 0.29), (0.88, 0.23), "block"),
        (0.8, (0.8, 0.55), (0.8, 0.5), "block"),
        (0.8, (0.85, 0.55), (0.8, 0.5), "channels"),
    ],
    ids=[
        "more time for the same damage",
        "more than was asked",
        "ResNet-8",
        "it learns more easily",
        "less than was asked",
    ],
)
def test_what_goes_is_cheapest_for_the_time_that_it_saves(latency, block, channels, goes):
    """(share of the time that is left, damage) of either way."""
    some, all_of_it = {"layer": np.array([True, False])}, {"layer": np.array([True, True])}
    made = {
        name: run.Candidate(model=None, rows=rows, share=share, damage=Damage(value=value, agreement=None))
        for name, rows, (share, value) in (("block", all_of_it, block), ("channels", some, channels))
    }
    assert min(made, key=lambda name: run.price(made[name], latency)) == goes


def test_half_of_the_work_goes_in_two_stages(tmp_path):
    """What is told of the second stage is told of the original."""
    made = pruned(spare(), feeds(tmp_path, 64), latency=0.55, budget="instant")
    kept = [tensor.dims[0] for tensor in made.model.graph.initializer if tensor.name.startswith("c0_w")]
    assert f"c0 16 to {kept[0]}" in made.notes[0]
    assert Network.of(made.model).layers["c0"].channels == kept[0] <= 8


def test_time_is_counted_in_whole_blocks_and_by_the_boards_rates():
    network = Network.of(residual(width=16))

    def counted(width, rates=None, block=8):
        axis = network.axis("c0").axis
        costs = CostModel(network.graph, network.layers, block=block, rates=rates or Rates())
        return costs.microseconds({"c0": (axis, width), "q0": (axis, width)})

    assert counted(9) < counted(17)
    assert counted(15) == pytest.approx(counted(16), rel=0.01)
    assert counted(16, rates_of(1.0, 1.0)) > 5 * counted(16)
    assert rates_of(None, None) == Rates()


def test_damage_is_kl_for_classes_and_noise_for_anything_else(tmp_path):
    samples = feeds(tmp_path)
    scores = Judge(residual(), samples).damage(residual())
    assert (scores.value, scores.agreement) == (0.0, 1.0)
    vectors = Judge(residual(), samples, classes=False).damage(residual())
    assert (vectors.value, vectors.agreement) == (0.0, None)
    picture = Judge(between([op("Relu", ["a"], "m")]), samples)
    silent = between([op("Relu", ["a"], "m")])
    for tensor in silent.graph.initializer:
        if tensor.name == "z_w":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    found = picture.damage(silent)
    assert found.agreement is None
    assert 0.5 < found.value < 2.0


def thin(kind):
    """A wide product whose weights have rank 8, between two others; [1, 64, 6, 6] or [1, 6, 64]."""
    generator = np.random.default_rng(1)
    weight = (generator.standard_normal((96, 8)) @ generator.standard_normal((8, 64)) / 8).astype(np.float32)
    if kind == "Conv":
        constants = [numpy_helper.from_array(weight[:, :, None, None], "w"), weights("b", 96)]
        node, shape, out = op("Conv", ["x", "w", "b"], "y", strides=[2, 2]), [1, 64, 6, 6], [1, 96, 3, 3]
        return make([node], [value("x", shape)], [value("y", out)], constants), shape
    constants = [numpy_helper.from_array(weight.T.copy(), "w"), weights("b", 96)]
    nodes, shape = [op("MatMul", ["x", "w"], "m"), op("Add", ["m", "b"], "y")], [1, 600, 64]
    return make(nodes, [value("x", shape)], [value("y", [1, 600, 96])], constants), shape


@pytest.mark.parametrize("kind", ["Conv", "MatMul"])
def test_a_product_of_low_rank_becomes_two(tmp_path, kind):
    model, shape = thin(kind)
    samples = feeds(tmp_path, shape=shape)
    made = low_rank(model, samples, energy=0.999, block=8, rates=Rates(call=0.0), budget=STANDARD)
    onnx.checker.check_model(made.model, full_check=True)
    assert Judge(model, samples).damage(made.model).value < 1e-5
    assert len(made.model.SerializeToString()) < len(model.SerializeToString())
    assert [node.op_type for node in made.model.graph.node].count(kind) == 2


def test_products_of_full_rank_stay_one(tmp_path):
    with pytest.raises(Refused) as refused:
        low_rank(attention(), feeds(tmp_path, shape=(1, 6, 16)), energy=0.99, block=2, rates=Rates(), budget=STANDARD)
    assert refused.value.code == "nothing-to-do"
