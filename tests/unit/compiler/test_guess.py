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
        ([spec("y", "n", 10, 4)], ("Relu",), "[n, 10, 4]"),
        ([spec("y", "n", 10, 2, 2)], ("Softmax",), "[n, 10, 2, 2]"),
        ([spec("y", "n", 10, 2, 2, 2)], ("Softmax",), "[n, 10, 2, 2, 2]"),
        ([spec("y", "n")], ("Softmax",), "[n]"),
        ([spec("y", "n", None)], ("Softmax",), "[n, ?]"),
        ([TensorSpec(name="y", dtype="float32", shape=None)], ("Softmax",), "unknown"),
        ([TensorSpec(name="y", dtype="int64", shape=None)], ("Softmax",), "int64"),
        ([spec("y", "n", 10)], ("Softmax", "Relu"), "does not end"),
        ([spec("y", "n", 10)], ("Identity",) * 40, "does not end"),
        ([spec("other", "n", 10)], ("Softmax",), "does not end"),
    ],
)
def test_anything_else_is_other_with_a_reason(outputs, ops, words):
    task, reason = guess_task([IMAGE], outputs, chain(*ops))
    assert task == "other"
    assert words in reason


TEXT = spec("input_ids", "n", "t", dtype="int64")


@pytest.mark.parametrize(
    ("inputs", "output", "ops", "task", "words"),
    [
        ([spec("x", "a", 640)], spec("y", "b", 640), ("Gemm",), "regression", "shape of its input"),
        ([IMAGE], spec("y", "n", 3, 8, 8), ("Softmax",), "regression", "shape of its input"),
        ([IMAGE], spec("y", "n", 10, 1, 1), ("Softmax",), "classification", "Softmax"),
        ([IMAGE], spec("y", "n", 1), ("Gemm",), "regression", "one number"),
        ([IMAGE], spec("y", "n", 1), ("Sigmoid",), "classification", "yes or no"),
        ([IMAGE], spec("y", "n", 1, 8, 8), ("Conv",), "regression", "for every pixel"),
        ([IMAGE], spec("y", "n", 1, 8, 8), ("Sigmoid",), "segmentation", "for every pixel"),
        ([IMAGE], spec("y", "n", 5, 8, 8), ("Conv",), "segmentation", "for every pixel"),
        ([spec("x", "n", 8, 8, 3)], spec("y", "n", 8, 8, 5), ("Conv",), "segmentation", "for every pixel"),
        ([IMAGE], spec("y", "n", 8, 8, dtype="int64"), ("ArgMax",), "segmentation", "label"),
        ([IMAGE], spec("y", "n", 1, 8, 8, dtype="int64"), ("ArgMax",), "segmentation", "label"),
        ([IMAGE], spec("embedding", "n", 128), ("Gemm",), "embedding", "vector"),
        ([IMAGE], spec("y", "n", 128), ("LpNormalization",), "embedding", "normalised"),
        ([IMAGE], spec("y", "n", 128), ("Gemm",), "classification", "Gemm"),
        ([IMAGE], spec("y", "n", 128), ("Relu",), "other", "does not end"),
        ([TEXT], spec("y", "n", 384), ("ReduceMean",), "embedding", "pooled"),
        ([TEXT], spec("y", "n", 384), ("Gemm",), "classification", "Gemm"),
        ([TEXT], spec("last_hidden_state", "n", "t", 384), ("Relu",), "embedding", "every token"),
        ([TEXT], spec("y", "n", "t", 384), ("Relu",), "embedding", "every token"),
        ([TEXT], spec("logits", "n", "t", 9), ("MatMul", "Add"), "tokens", "every position"),
        ([spec("features", "n", 80, "t")], spec("y", "n", "t", 29), ("MatMul", "LogSoftmax"), "tokens", "every position"),
        ([spec("features", "n", 80, "t")], spec("y", "n", "t", None), ("MatMul",), "other", "does not end in scores"),
        ([IMAGE], spec("y", 1, 84, 2100), ("Concat",), "detection", "many places"),
        ([IMAGE], spec("y", 1, 25200, 85), ("Concat",), "detection", "many places"),
        ([IMAGE], spec("y", 1, 300, 6), ("Concat",), "detection", "many places"),
        ([TEXT], spec("logits", 1, 512, 32000), ("MatMul",), "tokens", "every position"),
    ],
)  # fmt: skip
def test_one_output_is_known_by_its_form_and_end(inputs, output, ops, task, words):
    names = [*(f"t{i}" for i in range(len(ops) - 1)), output.name]
    nodes = [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, ["x", *names], names, strict=False)]
    found, reason = guess_task(inputs, [output], helper.make_graph(nodes, "g", [], []))
    assert found == task, reason
    assert words in reason


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([spec("scores", 1, 100, 2), spec("boxes", 1, 100, 4)], "'boxes'"),
        ([spec("boxes", None, 4), spec("labels", None, dtype="int64"), spec("scores", None)], "'boxes'"),
        ([spec("a", 1, 1600, 1), spec("b", 1, 400, 1), spec("c", 1, 1600, 4), spec("d", 1, 400, 4)], "1600 places"),
        ([spec("a", 1, 9, 64, 64), spec("b", 1, 9, 32, 32), spec("c", 1, 9, 16, 16)], "3 outputs"),
    ],
)
def test_detectors_are_known_by_their_boxes(outputs, words):
    found, reason = guess_task([IMAGE], outputs, chain("Conv"))
    assert found == "detection"
    assert words in reason


@pytest.mark.parametrize(
    "outputs",
    [
        [spec("boxes", 1, 100, 4), spec("y", 1, 100)],
        [spec("a", 1, 1600, 3), spec("b", 1, 1600, 3)],
        [spec("a", 1, 1600, 4), spec("b", 1, 400, 4)],
        [spec("a", 1, 9, 64, 64), spec("b", 1, 9, 64, 64)],
        [spec("a", 1, 9, 64, 64), spec("b", 1, 8, 32, 32)],
        [spec("a", 1, 9, "h", "w"), spec("b", 1, 9, 32, 32)],
        [spec("a", 1, 9), spec("b", 1, 9, 32, 32)],
    ],
)
def test_outputs_that_only_resemble_boxes_are_other(outputs):
    assert guess_task([IMAGE], outputs, chain("Conv"))[0] == "other"


def test_without_a_picture_there_are_no_boxes():
    outputs = [spec("scores", 1, 100, 2), spec("boxes", 1, 100, 4)]
    assert guess_task([spec("x", 1, 16)], outputs, chain("Conv"))[0] == "other"


def test_of_several_outputs_of_a_text_model_the_first_counts():
    """The others are caches and pooled copies."""
    outputs = [spec("y", "n", "t", 30522), spec("past", "n", 12, "t", 64)]
    assert guess_task([TEXT], outputs, chain("MatMul"))[0] == "tokens"


def test_a_vector_divided_by_its_length_is_an_embedding():
    """As PyTorch exports normalize(): Div by the Expand of a Clip of ReduceL2; dividing by anything else is none."""

    def graph(length: str) -> object:
        ops = (
            ("Gemm", ["x"], "v"),
            (length, ["v"], "l"),
            ("Clip", ["l"], "c"),
            ("Expand", ["c"], "e"),
            ("Div", ["v", "e"], "y"),
        )
        return helper.make_graph([helper.make_node(op, ins, [out]) for op, ins, out in ops], "g", [], [])

    assert guess_task([IMAGE], [spec("y", "n", 128)], graph("ReduceL2"))[0] == "embedding"
    assert guess_task([IMAGE], [spec("y", "n", 128)], graph("ReduceMax"))[0] == "other"
    assert guess_task([IMAGE], [spec("y", "n", 128)], chain(*["Identity"] * 40))[0] == "other"
    assert guess_task([IMAGE], [spec("z", "n", 128)], graph("ReduceL2"))[0] == "other"


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
