"""Every graph and tensor of a model is found, wherever ONNX lets one be put, and bounds hold for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeopt.compiler.graph_walk import MAX_NESTING, check_bounds, walk_graphs, walk_tensors
from edgeopt.compiler.refuse import Refused
from tests import models


def tensor(name: str) -> TensorProto:
    return numpy_helper.from_array(np.ones(2, np.float32), name)


def sparse(name: str) -> object:
    return helper.make_sparse_tensor(tensor(f"{name}.values"), numpy_helper.from_array(np.arange(2), f"{name}.indices"), [4])  # fmt: skip


def empty() -> ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], []))


def nested(depth: int) -> ModelProto:
    """A graph in a graph, `depth` times."""
    graph = helper.make_graph([], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", [], [], then_branch=graph)], "g", [], [])
    return helper.make_model(graph)


def test_tensors_are_found_in_every_place_that_holds_them() -> None:
    model = empty()
    model.graph.initializer.append(tensor("weight"))
    model.graph.sparse_initializer.append(sparse("sparse weight"))
    node = helper.make_node("Any", [], [], one=tensor("one"), few=[tensor("few 1"), tensor("few 2")])
    node.attribute.append(helper.make_attribute("thin", sparse("thin")))
    node.attribute.append(helper.make_attribute("thins", [sparse("thins")]))
    model.graph.node.append(helper.make_node("If", [], [], then_branch=helper.make_graph([node], "body", [], [])))

    assert {found.name for found in walk_tensors(model)} == {
        "weight", "sparse weight.values", "sparse weight.indices", "one", "few 1", "few 2",
        "thin.values", "thin.indices", "thins.values", "thins.indices",
    }  # fmt: skip


def test_graphs_are_found_in_functions_lists_and_training() -> None:
    model = empty()
    body = helper.make_graph([], "in a list", [], [])
    model.graph.node.append(helper.make_node("Any", [], [], bodies=[body, body]))
    model.functions.append(helper.make_function("d", "f", [], [], [], []))
    model.training_info.add().algorithm.name = "algorithm"

    depths = sorted(depth for _, depth in walk_graphs(model))
    assert depths == [0, 1, 1, 1, 1, 1]


def test_a_usual_model_is_within_the_bounds() -> None:
    check_bounds(models.classifier())


def test_nesting_is_bounded_to_the_level() -> None:
    check_bounds(nested(MAX_NESTING))
    with pytest.raises(Refused, match="25 levels of nested graphs, and 24 is the most"):
        check_bounds(nested(MAX_NESTING + 1))


@pytest.mark.parametrize("where", ["node", "input", "weight", "edge"])
def test_a_name_is_bounded_wherever_it_stands(where: str) -> None:
    model, name = empty(), "\u00e9" * 257
    match where:
        case "node":
            model.graph.node.append(helper.make_node("Relu", [], [], name=name))
        case "edge":
            model.graph.node.append(helper.make_node("Relu", [name], []))
        case "input":
            model.graph.input.append(models.value(name, [1]))
        case _:
            model.graph.initializer.append(tensor(name))

    with pytest.raises(Refused, match="514 bytes in a name") as caught:
        check_bounds(model)
    assert caught.value.code == "model-too-large"


def test_functions_hold_tensors_and_names_as_well() -> None:
    model, name = empty(), "n" * 513
    constant = helper.make_node("Constant", [], ["c"], value=tensor("in a function"))
    model.functions.append(helper.make_function("d", "f", [], [], [constant], []))
    check_bounds(model)
    assert [found.name for found in walk_tensors(model)] == ["in a function"]

    model.functions[0].node.append(helper.make_node("Relu", [name], []))
    with pytest.raises(Refused, match="513 bytes in a name"):
        check_bounds(model)
