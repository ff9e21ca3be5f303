"""The steps themselves, called here on graphs of our own making: what they refuse, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.building import build_task, graph_digest
from edgeopt.compiler.reading import check_valid, opset_of
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten
from edgeopt.compiler.running import Feeds, run_model_task
from edgeopt.compiler.same import check_same
from edgeopt.compiler.steps import Bench, borrow, float16, legalise, same_answers, upgrade_opset
from edgeopt.samples.record import Samples, write_npz
from tests import models

PINS = {"max_opset": 21, "max_ir_version": 10}


def bench(folder: Path, model: onnx.ModelProto, samples: Samples | None = None, **pins: int) -> Bench:
    source = models.save(model, folder / "source.onnx")
    feeds = None
    if samples is not None:
        write_npz(samples, folder / "samples.npz")
        feeds = Feeds(folder / "samples.npz", samples.names, len(samples))
    return Bench(source=source, scratch=folder, samples=feeds, notes=[], **(PINS | pins))


def build(folder: Path, model: onnx.ModelProto, *steps: str, **pins: int) -> dict[str, Any]:
    (folder / "out").mkdir()
    request = {
        "source": str(models.save(model, folder / "source.onnx")),
        "files": [],
        "steps": [{"name": step, "options": {"at_least": 1}} for step in steps],
        "samples": None,
        "pins": PINS | pins,
        "out": str(folder / "out"),
    }
    return build_task(request, folder, {"timeout_s": 600.0})


def changed(model: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    """The same graph with one weight scaled."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
    return model


def test_a_graph_that_answers_otherwise_is_refused(tmp_path):
    table = bench(tmp_path, models.dense_net(), models.noise("x", 1, 32))
    with pytest.raises(Refused, match="other answers") as caught:
        same_answers(changed(models.dense_net(), "w2", 1.01), {}, table)
    assert caught.value.code == "differs"


def test_rounding_is_no_difference_and_its_size_is_noted(tmp_path):
    table = bench(tmp_path, models.dense_net(), models.noise("x", 1, 32))
    same_answers(changed(models.dense_net(), "w2", 1.00001), {}, table)
    assert "of the largest value" in table.notes[0]


def test_a_changed_label_is_a_difference(tmp_path):
    net = models.two_inputs()
    other = models.two_inputs()
    other.graph.node[1].op_type = "ArgMin"
    with pytest.raises(Refused, match="other answers"):
        check_same(bench(tmp_path, net).source, other, None, tmp_path)


def test_a_changed_form_is_a_difference(tmp_path):
    net = models.make(
        [helper.make_node("Relu", ["x"], ["y"])], [models.value("x", [1, 4])], [models.value("y", [1, 4])]
    )
    flat = models.make(
        [helper.make_node("Flatten", ["x"], ["y"], axis=0)], [models.value("x", [1, 4])], [models.value("y", [1, 4])]
    )
    flat.graph.node[0].attribute[0].i = 2
    flat.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    flat.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(Refused, match="after rewriting"):
        check_same(bench(tmp_path, net).source, flat, None, tmp_path)


def test_a_new_nan_is_a_difference(tmp_path):
    net = models.make(
        [helper.make_node("Relu", ["x"], ["y"])], [models.value("x", [1, 4])], [models.value("y", [1, 4])]
    )
    with pytest.raises(Refused, match="inf"):
        check_same(bench(tmp_path, net).source, models.not_a_number(), None, tmp_path)


def test_what_no_random_input_fits_is_said_not_to_be_compared(tmp_path):
    """The open axis must be 7."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    net = models.make(
        nodes, [models.value("x", ["n", "k"])], [models.value("y", ["n", 3])], [models.weights("w", 7, 3)]
    )
    assert "not compared" in check_same(bench(tmp_path, net).source, net, None, tmp_path)


def test_converting_an_operator_that_is_gone_is_refused_by_name(tmp_path):
    net = models.make(
        [helper.make_node("Crop", ["x"], ["y"], border=[1, 1, 1, 1])],
        [models.value("x", [1, 3, 8, 8])],
        [models.value("y", [1, 3, 6, 6])],
        opset=7,
    )
    with pytest.raises(Refused, match="not: Crop"):
        upgrade_opset(net, {"at_least": 13}, bench(tmp_path, net))


def test_static_without_samples_is_refused(tmp_path):
    net = models.classifier()
    with pytest.raises(Refused, match="needs samples"):
        borrow(net, {"tool": "ort"}, bench(tmp_path, net))


def test_ort_takes_a_gemm_whose_bias_is_a_row(tmp_path):
    """ONNX Runtime's quantiser stumbles over it by itself (ORT#24815, #29747)."""
    net = models.make(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense")],
        [models.value("x", [1, 8])],
        [models.value("y", [1, 4])],
        [models.weights("w", 8, 4), models.weights("b", 1, 4)],
    )
    table = bench(tmp_path, net, models.noise("x", 1, 8, count=16))
    made = borrow(net, {"tool": "ort", "activations": "uint8", "budget": "instant"}, table)
    assert "QuantizeLinear" in {node.op_type for node in made.graph.node}


def test_a_quantised_file_with_its_weights_among_the_inputs_is_written_without(tmp_path):
    net = models.initialisers_as_inputs(models.classifier())
    quantised = borrow(
        models.classifier(),
        {"tool": "ort", "activations": "uint8", "budget": "instant"},
        bench(tmp_path, net, models.noise("x", 1, 3, 8, 8, count=16)),
    )
    given = models.initialisers_as_inputs(quantised)
    made = legalise(given, {"activations": "int8"}, bench(tmp_path, given))
    assert [value.name for value in made.graph.input] == ["x"]
    assert made.ir_version >= 4


def test_half_precision_keeps_the_signature_of_several_types(tmp_path):
    net = models.two_inputs()
    made = float16(net, {}, bench(tmp_path, net))
    assert [o.type.tensor_type.elem_type for o in made.graph.output] == [TensorProto.FLOAT, TensorProto.INT64]


def test_a_library_that_gives_no_reason_is_named(tmp_path):
    """onnxruntime's float16 conversion asserts, without words, that weights of two branches have two names."""
    net = models.branching()
    for attribute in net.graph.node[0].attribute:
        attribute.g.initializer[0].name = "w"
        attribute.g.node[0].input[1] = "w"
    with pytest.raises(Refused) as caught:
        build(tmp_path, net, "float16")
    assert str(caught.value) == "the step float16 failed on this model: AssertionError in float16.py"


def test_what_came_out_is_held_to_what_an_original_is(tmp_path):
    net = models.dense_net()
    net.graph.node[1].op_type = "Reluu"
    with pytest.raises(Refused, match="what came out cannot be used"):
        build(tmp_path, net, "upgrade_opset")


def test_a_result_beyond_the_boards_opset_is_refused(tmp_path):
    with pytest.raises(Refused, match="the result needs opset 17"):
        build(tmp_path, models.dense_net(), "float16", max_opset=15)


def test_the_graphs_digest_is_of_what_is_computed():
    """Names of nodes and producers do not count, weights and operators do."""
    net = models.dense_net()
    before = graph_digest(models.dense_net())
    net.producer_name, net.doc_string, net.graph.name = "someone", "words", "other"
    net.graph.node[0].name = "renamed"
    assert graph_digest(net) == before
    assert graph_digest(changed(models.dense_net(), "w1", 2.0)) != before


def test_old_files_without_opset_mean_the_first():
    net = models.dense_net()
    del net.opset_import[:]
    assert opset_of(net) == 1


def test_the_checker_takes_models_with_sequences_inside(tmp_path):
    """Values that are no tensors have no shape to be missing."""
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["s"]),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0),
    ]
    net = models.make(nodes, [models.value("x", None)], [models.value("y", None)])
    net.graph.value_info.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    check_valid(net, None)


def test_running_without_samples_is_refused(tmp_path):
    with pytest.raises(Refused, match="no samples"):
        run_model_task({"samples": None}, tmp_path, {})


def test_answers_that_are_no_arrays_are_refused(tmp_path):
    net = models.make(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [models.value("x", [1])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    table = bench(tmp_path, net, models.noise("x", 1, count=1))
    described = {"path": str(tmp_path / "samples.npz"), "names": ["x"], "count": 1}
    with pytest.raises(Refused, match="not an array of numbers"):
        run_model_task({"model": str(table.source), "samples": described, "out": ""}, tmp_path, {"output_bytes": 1})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from /home/me/net.onnx failed:Fatal error: x", "Fatal error: x"),
        ("bad\n\n  spaces\tand lines", "bad spaces and lines"),
        ("File /opt/somewhere/else/weights.bin is gone", "File weights.bin is gone"),
        ("x" * 1000, "x" * 299 + "…"),
        ("wrong ==> Context: Bad node spec for node", "wrong"),
    ],
)
def test_messages_of_libraries_are_shortened(message, words):
    assert shorten(message) == words


def test_out_of_memory_is_recognised_in_words():
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("std::bad_alloc"))
    assert not out_of_memory(RuntimeError("other"))
