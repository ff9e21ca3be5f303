"""Counting what an inference computes: by hand on small graphs, and a reason where it cannot be counted."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.costs import count_costs
from tests import models


def one(op, shapes, out, *, dynamic=None, **attributes):
    """A graph of one node; the first shape is the input's, the others are constants."""
    names = [f"t{index}" for index in range(len(shapes))]
    node = helper.make_node(op, names, ["y"], **attributes)
    constants = [models.weights(name, *shape) for name, shape in zip(names[1:], shapes[1:], strict=True)]
    return models.make([node], [models.value(names[0], dynamic or shapes[0])], [models.value("y", out)], constants)


@pytest.mark.parametrize(
    ("op", "shapes", "out", "attributes", "macs"),
    [
        ("Conv", [(1, 3, 8, 8), (16, 3, 3, 3)], (1, 16, 6, 6), {}, 16 * 36 * 27),
        ("Conv", [(1, 8, 8, 8), (8, 1, 3, 3)], (1, 8, 6, 6), {"group": 8}, 8 * 36 * 9),
        ("ConvTranspose", [(1, 4, 5, 5), (4, 6, 2, 2)], (1, 6, 6, 6), {}, 4 * 25 * 6 * 4),
        ("MatMul", [(1, 7, 5), (5, 3)], (1, 7, 3), {}, 7 * 3 * 5),
        ("Gemm", [(1, 5), (5, 3)], (1, 3), {}, 15),
        ("Gemm", [(5, 2), (5, 3)], (2, 3), {"transA": 1}, 2 * 3 * 5),
        ("Relu", [(1, 5)], (1, 5), {}, 0),
    ],
)
def test_products_are_counted_as_by_hand(op, shapes, out, attributes, macs):
    costs = count_costs(one(op, shapes, out, **attributes))
    assert costs == (macs, 0 if op == "Relu" else int(np.prod(out)), None)


def test_a_recurrent_layer_multiplies_both_matrices_at_every_step():
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3)
    constants = [models.weights("w", 1, 12, 4), models.weights("r", 1, 12, 3)]
    model = models.make([node], [models.value("x", [6, 1, 4])], [models.value("y", [6, 1, 1, 3])], constants)
    assert count_costs(model).macs == 6 * (12 * 4 + 12 * 3)


def test_an_open_batch_is_one_and_large_weights_are_only_a_shape():
    model = one("Conv", [(1, 64, 4, 4), (64, 64, 3, 3)], ("n", 64, 2, 2), dynamic=("n", 64, 4, 4))
    before = model.SerializeToString()
    assert count_costs(model).macs == 64 * 4 * 64 * 9
    assert model.SerializeToString() == before


def test_constants_of_nodes_have_shapes_too():
    weight = numpy_helper.from_array(np.ones((4, 2), np.float32))
    nodes = [helper.make_node("Constant", [], ["w"], value=weight), helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = models.make(nodes, [models.value("x", [1, 4])], [models.value("y", [1, 2])])
    assert count_costs(model).macs == 8


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (
            one("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], (1, 4, None, None), dynamic=(1, 3, "h", "w")),
            "without a fixed size",
        ),
        (models.branching(), "control flow"),
        (one("Einsum", [(2, 3), (3, 4)], (2, 4), equation="ij,jk->ik"), "Einsum"),
        (one("Gemm", [(1, 5), (4, 3)], (1, 3)), "inferred"),
    ],
)
def test_what_cannot_be_counted_has_a_reason(model, word):
    costs = count_costs(model)
    assert costs.macs is None
    assert costs.activations is None
    assert word in costs.reason


def test_a_shape_that_nobody_knows_names_the_node():
    nodes = [
        helper.make_node("Mystery", ["x"], ["m"], domain="some.where"),
        helper.make_node("MatMul", ["m", "w"], ["y"], name="last"),
    ]
    model = models.make(nodes, [models.value("x", [1, 4])], [models.value("y", [1, 2])], [models.weights("w", 4, 2)])
    model.opset_import.append(helper.make_opsetid("some.where", 1))
    assert "'last'" in count_costs(model).reason


def test_numbers_that_no_record_can_hold_are_refused():
    side = 1 << 30
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    big = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "xwy"]
    model = helper.make_model(helper.make_graph([node], "big", big[:2], big[2:]))
    assert "more than any device" in count_costs(model).reason


def test_inspecting_tells_the_counts(inspected):
    _, model = inspected(models.classifier())
    assert model.macs == 16 * 36 * 27 + 16 * 5
    assert model.activations == 16 * 36 + 5
    assert model.costs_reason is None
    _, model = inspected(models.branching())
    assert model.macs is None
    assert "control flow" in model.costs_reason
