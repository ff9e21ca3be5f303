"""Nodes behind what they need."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgeopt.compiler.node_order import sort_nodes
from edgeopt.compiler.refuse import Refused
from tests import models


@given(st.permutations(range(6)))
@settings(max_examples=30, deadline=None)
def test_a_shuffled_graph_becomes_valid(order):
    model = models.classifier()
    nodes = [model.graph.node[index] for index in order]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(sort_nodes(model))
    assert [node.name for node in model.graph.node] == ["conv", "relu", "pool", "flatten", "dense", "softmax"]


def test_a_sorted_graph_is_left_alone():
    model = models.branching()
    before = model.SerializeToString(deterministic=True)
    assert sort_nodes(model).SerializeToString(deterministic=True) == before


def test_what_a_body_uses_comes_before_the_node_around_it():
    """And the body's own nodes are sorted too."""
    body_nodes = [helper.make_node("Relu", ["b"], ["y_then"]), helper.make_node("Relu", ["outer"], ["b"])]
    then = helper.make_graph(body_nodes, "then", [], [models.value("y_then", [1])])
    other = helper.make_graph([helper.make_node("Relu", ["x"], ["y_else"])], "else", [], [models.value("y_else", [1])])
    nodes = [
        helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other),
        helper.make_node("Relu", ["x"], ["outer"]),
    ]
    inputs = [models.value("x", [1]), models.value("flag", [], onnx.TensorProto.BOOL)]
    model = sort_nodes(models.make(nodes, inputs, [models.value("y", [1])]))
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Relu", "If"]


def test_a_circle_is_refused():
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    with pytest.raises(Refused, match="circle"):
        sort_nodes(models.make(nodes, [models.value("x", [1])], [models.value("a", [1])]))
