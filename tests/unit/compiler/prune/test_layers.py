"""Layers of a stack: told by the graph, and the half taken away that is missed least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeopt.compiler.prune.drop import drop_layers, fitted
from edgeopt.compiler.prune.layers import find_layers
from edgeopt.compiler.quantize.graph import Graph
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.refuse import Refused
from tests.models import make, value, weights
from tests.unit.compiler.train.networks import feeds

WIDTH = 8


def stack(layers: int, *, gains: dict[int, float] | None = None, head: bool = True) -> ModelProto:
    """Tokens, a table, and layers that each add what two products make and are normalised; `gains` say how much a layer does."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["h0"])]
    constants = [weights("table", 20, WIDTH, scale=1.0), weights("last", WIDTH, 3)]
    for i in range(layers):
        nodes += [
            helper.make_node("MatMul", [f"h{i}", f"up{i}"], [f"u{i}"]),
            helper.make_node("Relu", [f"u{i}"], [f"r{i}"]),
            helper.make_node("MatMul", [f"r{i}", f"down{i}"], [f"d{i}"]),
            helper.make_node("Add", [f"d{i}", f"h{i}"], [f"s{i}"]),
            helper.make_node("LayerNormalization", [f"s{i}", f"g{i}", f"b{i}"], [f"h{i + 1}"]),
        ]
        constants += [
            weights(f"up{i}", WIDTH, 12, scale=0.6),
            weights(f"down{i}", 12, WIDTH, scale=(gains or {}).get(i, 1.0)),
            numpy_helper.from_array(np.ones(WIDTH, np.float32), f"g{i}"),
            numpy_helper.from_array(np.zeros(WIDTH, np.float32), f"b{i}"),
        ]
    if head:
        nodes.append(helper.make_node("MatMul", [f"h{layers}", "last"], ["y"]))
    output = value("y", ["n", "t", 3]) if head else value(f"h{layers}", ["n", "t", WIDTH])
    return make(nodes, [value("ids", ["n", "t"], TensorProto.INT64)], [output], constants)


def tokens(folder: Path, count: int = 24) -> object:
    return feeds({"ids": np.random.default_rng(0).integers(0, 20, (count, 1, 6))}, folder)


def test_each_layer_ends_where_the_next_begins() -> None:
    found = find_layers(Graph(stack(4)))
    assert [(layer.source, layer.total) for layer in found] == [(f"h{i}", f"h{i + 1}") for i in range(4)]


def test_what_does_nothing_goes(tmp_path: Path) -> None:
    model = stack(6, gains={1: 0.001, 2: 0.001, 4: 0.001})
    made = drop_layers(model, tokens(tmp_path), share=0.5)
    assert len(made.model.graph.node) == len(model.graph.node) - 15
    assert "3 of 6 layers gone (2, 3, 5)" in made.notes[0]
    onnx.checker.check_model(made.model)
    before, after = (
        np.concatenate([a[0] for a in answers(m, tokens(tmp_path), fused=False)]) for m in (model, made.model)
    )
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())


def test_the_answer_itself_stays(tmp_path: Path) -> None:
    made = drop_layers(stack(4, head=False), tokens(tmp_path), share=0.5)
    assert [o.name for o in made.model.graph.output] == ["h4"]
    onnx.checker.check_model(made.model)


def test_many_sets_are_chosen_one_layer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.compiler.prune.drop.MOST_SETS", 1)
    made = drop_layers(stack(6, gains={1: 0.001, 2: 0.001, 4: 0.001}), tokens(tmp_path), share=0.5)
    assert "(2, 3, 5)" in made.notes[0]


def test_without_a_stack_nothing_goes(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="none can go"):
        drop_layers(stack(2), tokens(tmp_path), share=0.5)


def test_scale_and_shift_are_least_squares() -> None:
    left = np.random.default_rng(0).standard_normal((50, 3))
    fit = fitted(left, left * [2.0, -1.0, 0.5] + [1.0, 0.0, -3.0])
    np.testing.assert_allclose(fit.scale, [2.0, -1.0, 0.5])
    assert fit.residual < 1e-12
