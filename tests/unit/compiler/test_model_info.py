"""Inspecting a model: what is known of it, and every way to be refused."""

from __future__ import annotations

import os
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.model_info import inspect_model
from edgeopt.errors import ModelError
from tests import models


def refusal(path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        inspect_model(path)
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value)) < 700
    return caught.value


def test_a_classifier_is_described(inspected):
    path, model = inspected(models.classifier())
    assert (model.name, model.format, model.opset, model.ir_version, model.node_count) == ("net", "onnx", 17, 8, 6)
    assert [(i.name, i.dtype, i.shape) for i in model.inputs] == [("x", "float32", ("batch", 3, 8, 8))]
    assert [(o.name, o.dtype, o.shape) for o in model.outputs] == [("scores", "float32", ("batch", 5))]
    assert model.parameter_count == 16 * 27 + 16 + 16 * 5 + 5
    assert model.parameter_dtypes == {"float32": model.parameter_count}
    assert model.op_counts["Conv"] == 1
    assert model.task == "classification"
    assert model.domains == ("ai.onnx",)
    assert not model.has_control_flow
    assert model.warnings == ()
    assert model.bytes == path.stat().st_size


def test_several_inputs_and_outputs_keep_their_order(inspected):
    _, model = inspected(models.two_inputs())
    assert [i.name for i in model.inputs] == ["image", "gain"]
    assert [(o.name, o.dtype) for o in model.outputs] == [("sum", "float32"), ("picked", "int64")]
    assert model.task == "other"


def test_control_flow_is_seen_and_its_bodies_are_counted(inspected):
    _, model = inspected(models.branching())
    assert model.has_control_flow
    assert model.op_counts == {"MatMul": 2, "If": 1}
    assert model.parameter_count == 128


def test_weights_among_the_inputs_are_no_inputs(inspected):
    """Files before IR 4 list every weight there."""
    _, model = inspected(models.initialisers_as_inputs(models.classifier(opset=9)))
    assert [i.name for i in model.inputs] == ["x"]
    assert any("clean" in warning for warning in model.warnings)


def test_shapes_left_unsaid_are_no_fault(inspected):
    """Many exporters leave them out; onnx's checker minds."""
    net = models.classifier()
    net.graph.output[0].type.tensor_type.ClearField("shape")
    _, model = inspected(net)
    assert model.outputs[0].shape is None or len(model.outputs[0].shape) == 2


def test_an_unknown_rank_is_unknown(inspected):
    net = models.make([helper.make_node("Relu", ["x"], ["y"])], [models.value("x", None)], [models.value("y", None)])
    _, model = inspected(net)
    assert model.inputs[0].shape is None
    assert model.outputs[0].shape is None


def test_constants_in_nodes_are_weights_too(inspected):
    constant = numpy_helper.from_array(np.ones(4, dtype=np.float32), "c")
    nodes = [helper.make_node("Constant", [], ["c"], value=constant), helper.make_node("Add", ["x", "c"], ["y"])]
    _, model = inspected(models.make(nodes, [models.value("x", [4])], [models.value("y", [4])]))
    assert model.parameter_count == 4


def test_the_share_of_matrices_leaves_look_up_tables_aside(inspected):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    constants = [models.weights("table", 500, 8), models.weights("w", 8, 30), models.weights("b", 60, 1)]
    inputs = [models.value("ids", [60], TensorProto.INT64)]
    _, found = inspected(models.make(nodes, inputs, [models.value("y", [60, 30])], constants))
    assert found.matrix_share == 240 / 300


def test_where_no_weights_are_their_share_is_unknown(inspected):
    net = models.make([helper.make_node("Relu", ["x"], ["y"])], [models.value("x", [2])], [models.value("y", [2])])
    assert inspected(net)[1].matrix_share is None


def test_a_runtimes_own_operator_is_accepted_and_a_strangers_is_not(inspected, tmp_path):
    net = models.make(
        [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")],
        [models.value("x", [4])],
        [models.value("y", [4])],
    )
    net.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    _, model = inspected(net)
    assert model.domains == ("com.microsoft",)
    net.graph.node[0].domain = net.opset_import[1].domain = "org.example"
    error = refusal(models.save(net, tmp_path / "strange.onnx"))
    assert error.code == "model-unsupported"
    assert "org.example" in str(error)


def test_the_file_itself_may_be_a_link(inspected, tmp_path):
    """The user named it, so the user trusts it; only what the file names is confined."""
    path, model = inspected(models.classifier())
    (tmp_path / "link.onnx").symlink_to(path)
    assert inspect_model(tmp_path / "link.onnx").digest == model.digest


def test_a_relative_path_is_taken_from_here(inspected, monkeypatch):
    path, model = inspected(models.classifier())
    monkeypatch.chdir(path.parent)
    assert inspect_model(path.relative_to(path.parent)).digest == model.digest


def test_no_such_file(tmp_path):
    assert refusal(tmp_path / "none.onnx").code == "model-missing"


def test_a_folder_is_no_model(tmp_path):
    error = refusal(tmp_path)
    assert error.code == "model-unreadable"
    assert "a folder" in str(error)


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "net.onnx")
    assert refusal(tmp_path / "net.onnx").code == "model-unreadable"


def test_an_empty_file(tmp_path):
    (tmp_path / "net.onnx").touch()
    assert "empty" in str(refusal(tmp_path / "net.onnx"))


@pytest.mark.parametrize("data", [b"not a model at all, just words", b"\x00" * 100, b"\x08\x08", b"\xff" * 64])
def test_what_is_no_protobuf_is_unreadable(tmp_path, data):
    (tmp_path / "net.onnx").write_bytes(data)
    assert refusal(tmp_path / "net.onnx").code == "model-unreadable"


def test_a_truncated_model_is_unreadable_or_invalid(tmp_path):
    data = models.classifier().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data[: len(data) // 2])
    error = refusal(tmp_path / "net.onnx")
    assert error.code == "model-unreadable"
    assert "cut short" in str(error)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("net.h5", b"\x89HDF\r\n\x1a\nrest", "Keras HDF5"),
        ("net.pt", b"PK\x03\x04rest", "zip archive"),
        ("net.pth", b"other", "PyTorch"),
        ("net.ort", b"\x00\x00\x00\x00ORTM", "ONNX Runtime's own format"),
        ("net.onnx", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_other_formats_are_named_with_the_way_to_onnx(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    error = refusal(tmp_path / name)
    assert error.code == "model-unsupported"
    assert words in str(error)
    assert error.hint


def test_a_model_beyond_two_gibibytes_is_not_read(tmp_path):
    """The file is sparse: nothing of that size is written or parsed."""
    path = tmp_path / "net.onnx"
    with path.open("wb") as stream:
        stream.write(b"\x08\x08")
        stream.truncate((2 << 30) + 1)
    assert refusal(path).code == "model-too-large"


def test_the_checkers_words_are_passed_on(tmp_path):
    net = models.classifier()
    net.graph.node[0].op_type = "Convolve"
    error = refusal(models.save(net, tmp_path / "net.onnx"))
    assert error.code == "model-invalid"
    assert "Convolve" in str(error)


def test_the_runtimes_refusal_is_passed_on(tmp_path):
    """Valid ONNX, but no kernel: bfloat16 products."""
    bf16 = TensorProto.BFLOAT16
    net = models.make(
        [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)],
        [models.value("a", [2, 2], bf16), models.value("b", [2, 2], bf16)],
        [models.value("y", [2, 2])],
    )
    error = refusal(models.save(net, tmp_path / "net.onnx"))
    assert error.code == "model-unsupported"
    assert "ONNX Runtime refuses it" in str(error)


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "words"),
    [
        (["Identity"], [models.value("x", [1], TensorProto.STRING)], [models.value("y", [1], TensorProto.STRING)], "is str"),
        (["SequenceConstruct"], [models.value("x", [1])], [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)], "sequence(float32)"),
    ],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_unsupported(tmp_path, nodes, inputs, outputs, words):
    net = models.make([helper.make_node(nodes[0], ["x"], ["y"])], inputs, outputs)
    error = refusal(models.save(net, tmp_path / "net.onnx"))
    assert error.code == "model-unsupported"
    assert words in str(error)


def test_a_model_without_inputs_is_unsupported(tmp_path):
    net = models.make(
        [helper.make_node("Identity", ["c"], ["y"])], [], [models.value("y", [4])], [models.weights("c", 4)]
    )
    assert "no inputs" in str(refusal(models.save(net, tmp_path / "net.onnx")))


def test_deep_nesting_is_refused(tmp_path):
    error = refusal(models.save(models.nested(30), tmp_path / "net.onnx"))
    assert error.code == "model-too-large"
    assert "nested" in str(error)


def test_nesting_that_protobuf_itself_refuses_is_told_apart_from_damage(tmp_path):
    (tmp_path / "net.onnx").write_bytes(models.nested_bytes(500))
    error = refusal(tmp_path / "net.onnx")
    assert error.code == "model-too-large"
    assert "nested too deeply" in str(error)


def test_a_few_levels_are_fine(inspected):
    _, model = inspected(models.nested(3))
    assert model.has_control_flow


def test_a_long_name_is_refused(tmp_path):
    net = models.classifier()
    net.graph.node[0].name = "n" * 513
    error = refusal(models.save(net, tmp_path / "net.onnx"))
    assert error.code == "model-too-large"
    assert "bytes in a name" in str(error)


def test_too_many_nodes_are_refused(tmp_path):
    net = models.make([], [models.value("x", [1])], [models.value("y", [1])])
    node = helper.make_node("Relu", ["x"], ["y"])
    net.graph.node.extend([node] * 200_001)
    error = refusal(models.save(net, tmp_path / "net.onnx"))
    assert error.code == "model-too-large"
    assert "200,000" in str(error)


def test_opset_newer_than_the_runtime_is_unsupported(tmp_path):
    net = models.classifier(opset=17)
    net.opset_import[0].version = 999
    assert refusal(models.save(net, tmp_path / "net.onnx")).code in ("model-unsupported", "model-invalid")


def test_reading_that_hangs_is_unsafe_not_endless(inspected):
    path, _ = inspected(models.classifier())
    with pytest.raises(ModelError) as caught:
        inspect_model(path, timeout_s=0.01)
    assert caught.value.code == "model-unsafe"


def test_nothing_heavy_is_imported_by_the_caller(tmp_path):
    """The caller's process stays free of the libraries that parse models."""
    import subprocess

    path = models.save(models.classifier(), tmp_path / "net.onnx")
    code = (
        "import sys; from pathlib import Path; from edgeopt.compiler.model_info import inspect_model;"
        f"inspect_model(Path({str(path)!r})); print(sorted({{'onnx', 'onnxruntime', 'numpy', 'google.protobuf'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_model_from_another_producer_opens_whatever_its_metadata(inspected):
    net = models.classifier()
    onnx.helper.set_model_props(net, {"author": "x" * 10_000})
    inspected(net)


def test_functions_that_the_file_brings_are_no_strangers(inspected):
    net = models.make(
        [helper.make_node("Twice", ["x"], ["y"], domain="org.example")],
        [models.value("x", [4])],
        [models.value("y", [4])],
    )
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    net.functions.append(
        helper.make_function("org.example", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    net.opset_import.append(helper.make_opsetid("org.example", 1))
    _, model = inspected(net)
    assert model.op_counts == {"Twice": 1, "Add": 1}
    assert model.warnings == ()
