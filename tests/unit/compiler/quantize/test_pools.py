"""A float MaxPool before int8 stands before its activation: the same answers, and no slow int8 pooling."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeopt.compiler.quantize import emit as emitting
from edgeopt.compiler.quantize.emit import emit
from edgeopt.compiler.quantize.mixed import without
from edgeopt.compiler.quantize.observe import answers
from tests.unit.compiler.quantize import nets

POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
ACTIVATIONS = {
    "Relu": lambda chain: chain.op("Relu"),
    "Clip": lambda chain: chain.clip(0.5),
    "LeakyRelu": lambda chain: chain.op("LeakyRelu", alpha=0.1),
}


def stem_in_float(chain, tmp_path):
    network = nets.int8(chain.conv(16).op("Relu").conv(8).model(), nets.feeds(tmp_path))
    return without(network, {network.layers[0].name})


def kinds(model):
    return [node.op_type for node in model.graph.node]


def as_it_came(monkeypatch):
    monkeypatch.setattr(emitting, "pooled_first", lambda graph, _nodes, _tensors: list(graph.graph.node))


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_the_order_changes_and_the_answers_do_not(tmp_path, monkeypatch, kind):
    network = stem_in_float(ACTIVATIONS[kind](nets.Chain().conv(16)).op("MaxPool", **POOL), tmp_path)
    made = emit(network)
    order = kinds(made)
    assert order.index("MaxPool") < order.index(kind)
    onnx.checker.check_model(made)
    as_it_came(monkeypatch)
    before = emit(network)
    assert kinds(before).index("MaxPool") > kinds(before).index(kind)
    samples = nets.feeds(tmp_path, seed=3)
    for one, other in zip(answers(made, samples, fused=False), answers(before, samples, fused=False), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_the_runtime_pools_in_float_then(tmp_path):
    """Left as it came, the runtime moves the quantiser up through the pooling."""
    network = stem_in_float(nets.Chain().conv(16).op("Relu").op("MaxPool", **POOL), tmp_path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(emit(network).SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    made = {name: node.op_type for node in optimised.graph.node for name in node.output}
    (pool,) = (node for node in optimised.graph.node if node.op_type == "MaxPool")
    assert made[pool.input[0]] in ("Conv", "FusedConv", "ReorderInput", "ReorderOutput")


def test_what_is_read_elsewhere_or_may_fall_keeps_its_place(tmp_path):
    chain = nets.Chain().conv(16).op("Relu")
    shared = chain.tensor
    read_twice = chain.op("MaxPool", **POOL).conv(8).model(shared, "t3")
    falls = nets.Chain().conv(16).op("LeakyRelu", alpha=-0.5).op("MaxPool", **POOL).conv(8).model()
    for model, kind in ((read_twice, "Relu"), (falls, "LeakyRelu")):
        network = nets.int8(model, nets.feeds(tmp_path))
        order = kinds(emit(without(network, {network.layers[0].name})))
        assert order.index(kind) < order.index("MaxPool")


def test_where_everything_is_int8_nothing_moves(tmp_path):
    model = nets.Chain().conv(16).op("LeakyRelu", alpha=0.1).op("MaxPool", **POOL).conv(8).model()
    order = kinds(emit(nets.int8(model, nets.feeds(tmp_path))))
    assert order.index("LeakyRelu") < order.index("MaxPool")
