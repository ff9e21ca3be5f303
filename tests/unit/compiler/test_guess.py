"""What a model is for, guessed from its signature and its end."""

from __future__ import annotations

import pytest
from onnx import helper

from edgeopt.compiler.guess import guess_task
from edgeopt.compiler.runtime import type_name
from edgeopt.domain.model import TensorSpec
from tests import models


def spec(name: str, *shape: int | str | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


IMAGE = spec("x", "n", 3, 8, 8)


def chain(*ops: str) -> object:
    """A graph of ops in a row from x to y."""
    names = ["x", *(f"t{i}" for i in range(len(ops) - 1)), "y"]
    nodes = [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, names, names[1:], strict=False)]
    return helper.make_graph(nodes, "g", [], [])


@pytest.mark.parametrize(
    "ops",
    [("Conv", "Softmax"), ("Conv", "Gemm"), ("MatMul", "Add"), ("Conv", "GlobalAveragePool", "Flatten"), ("Gemm", "LogSoftmax", "Identity"),
     ("GlobalAveragePool", "Conv", "Reshape")],
)  # fmt: skip
def test_scores_at_the_end_make_a_classifier(ops):
    task, reason = guess_task([IMAGE], [spec("y", "n", 10)], chain(*ops))
    assert task == "classification"
    assert "[n, 10]" in reason


def test_a_real_graph_is_recognised_through_its_bias_and_constants():
    graph = models.classifier().graph
    assert guess_task([IMAGE], [spec("scores", None, 5)], graph)[0] == "classification"


@pytest.mark.parametrize(
    ("outputs", "ops", "words"),
    [
        ([spec("y", "n", 10), spec("z", "n", 10)], ("Softmax",), "2 outputs"),
        ([spec("y", "n", 10, dtype="int64")], ("Softmax",), "int64"),
        ([spec("y", "n", 1)], ("Softmax",), "[n, 1]"),
        ([spec("y", "n", 10, 4)], ("Softmax",), "[n, 10, 4]"),
        ([spec("y", "n", 10, 2, 2)], ("Softmax",), "[n, 10, 2, 2]"),
        ([spec("y", "n", None)], ("Softmax",), "[n, ?]"),
        ([TensorSpec(name="y", dtype="float32", shape=None)], ("Softmax",), "unknown"),
        ([spec("y", "n", 3, 8, 8)], ("Softmax",), "[n, 3, 8, 8]"),
        ([spec("y", "n", 10)], ("Softmax", "Relu"), "does not end"),
        ([spec("y", "n", 10)], ("Identity",) * 40, "does not end"),
        ([spec("other", "n", 10)], ("Softmax",), "does not end"),
    ],
)
def test_anything_else_is_other_with_a_reason(outputs, ops, words):
    task, reason = guess_task([IMAGE], outputs, chain(*ops))
    assert task == "other"
    assert words in reason


def test_an_autoencoder_is_no_classifier():
    task, reason = guess_task([spec("x", "a", 640)], [spec("y", "b", 640)], chain("Gemm"))
    assert task == "other"
    assert "shape of its input" in reason


@pytest.mark.parametrize(
    ("described", "name"),
    [
        ("tensor(float)", "float32"),
        ("tensor(double)", "float64"),
        ("tensor(string)", "str"),
        ("tensor(bfloat16)", "bfloat16"),
        ("tensor(int64)", "int64"),
        ("tensor(float8e4m3fn)", "float8e4m3fn"),
        ("seq(tensor(float))", "sequence(float32)"),
        ("map(int64,tensor(float))", "map(int64,float32)"),
    ],
)
def test_types_have_numpys_names_or_words(described, name):
    assert type_name(described) == name
