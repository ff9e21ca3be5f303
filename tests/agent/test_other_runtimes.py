"""LiteRT and OpenVINO in the agent: opened with a setting, run, and what of them computed where. Their own packages, where this interpreter has them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from edgeopt_agent.runtimes import TABLE, distribution, litert, open_runtime, openvino
from tests.agent import models

CPU = {"runtime": "openvino", "provider": "CPU", "threads": 1}
XNNPACK = {"runtime": "litert", "provider": "XNNPACK", "threads": 1}


@pytest.fixture
def xml(tmp_path: Path) -> Path:
    """Sum and difference of two inputs, in OpenVINO's form."""
    ov = pytest.importorskip("openvino")
    (tmp_path / "m.onnx").write_bytes(models.TWO_INPUTS)
    ov.save_model(ov.Core().read_model(tmp_path / "m.onnx"), tmp_path / "m.xml", compress_to_fp16=False)
    return tmp_path / "m.xml"


@pytest.fixture
def tflite(tmp_path: Path) -> Path:
    """The same as a .tflite file."""
    pytest.importorskip("ai_edge_litert")
    from edgeopt.compiler.convert.tflite.convert import to_tflite

    made = to_tflite(onnx.load_from_string(models.TWO_INPUTS), {}, SimpleNamespace(samples=None))
    (tmp_path / "m.tflite").write_bytes(made.files["model.tflite"])
    return tmp_path / "m.tflite"


def feed() -> dict[str, Any]:
    return {"a": np.full((1, 4), 1.0, np.float32), "b": np.full((1, 4), 3.0, np.float32)}


def _capabilities() -> list[str]:
    """What OpenVINO says that this CPU computes in."""
    core = pytest.importorskip("openvino").Core()
    return list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class TestOpenVino:
    def test_outputs_come_in_the_order_of_the_model_and_are_its_own(self, xml: Path) -> None:
        model = openvino.load(str(xml), CPU)
        assert (model.input_names, model.output_names) == (["b", "a"], ["sum", "diff"])
        first = model.run(feed())
        model.run({name: array * 10 for name, array in feed().items()})
        assert [float(array[0, 0]) for array in first] == [4.0, 2.0], "they stay as they were"
        assert (model.provider_used, model.takes_batches) == ("CPU", False)

    def test_a_network_that_it_refuses_is_told_in_its_own_words_not_by_a_place_in_its_source(self) -> None:
        message = (
            "Exception from src/inference/src/cpp/core.cpp:117:\nException from src/core/src/pass/graph_rewrite.cpp:298:\n"
            "[Align] END: node: opset1::FakeQuantize CALLBACK HAS THROWN: Check 'precisions.size() == 1' failed at align.cpp:49:\n"
            "Convolution input precision should be single\n\n\n"
        )
        assert openvino.said(message) == "Convolution input precision should be single"
        assert openvino.said("Exception from core.cpp:1:\n") == "Exception from core.cpp:1:"
        assert openvino.said("") == "OpenVINO does not say why"

    def test_a_file_that_is_none_is_refused_with_a_sentence(self, xml: Path) -> None:
        xml.write_text("<net/>")
        with pytest.raises(RuntimeError) as found:
            openvino.load(str(xml), CPU)
        assert "\n" not in str(found.value)
        assert not str(found.value).startswith("Exception from")

    def test_what_its_nodes_became_is_told(self, xml: Path) -> None:
        counts, reason = openvino.load(str(xml), CPU).placement()
        assert reason is None
        assert sum(counts["CPU"].values()) > 0  # type: ignore[index]
        assert all("f32" in kernel for kernel in counts["CPU"])  # type: ignore[index]

    def test_it_computes_in_fp32_unless_told_otherwise(self, xml: Path) -> None:
        """Left to itself it takes bfloat16 where the CPU has it, and answers change."""
        plain = openvino.load(str(xml), CPU)
        assert str(plain._compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"

    def test_bfloat16_is_taken_where_it_is_asked_for(self, xml: Path) -> None:
        if "BF16" not in _capabilities():
            pytest.skip("this CPU does not compute in bfloat16")
        half = openvino.load(str(xml), {**CPU, "precision": "bf16"})
        assert str(half._compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'bfloat16'>"

    def test_threads_are_those_of_the_setting(self, xml: Path) -> None:
        model = openvino.load(str(xml), {**CPU, "threads": 2, "affinity": [0, 1]})
        assert model._compiled.get_property("INFERENCE_NUM_THREADS") == 2
        assert model._compiled.get_property("ENABLE_CPU_PINNING") is False, "an affinity is not undone"

    def test_the_version_is_found_without_an_import(self) -> None:
        pytest.importorskip("openvino")
        import sys

        assert openvino.find(sys.path) == openvino.version()
        assert "CPU" in openvino.providers()


class TestLiteRt:
    def test_outputs_come_in_the_order_of_the_model_and_are_its_own(self, tflite: Path) -> None:
        model = litert.load(str(tflite), XNNPACK)
        assert (model.input_names, model.output_names) == (["b", "a"], ["sum", "diff"])
        first = model.run(feed())
        model.run({name: array * 10 for name, array in feed().items()})
        assert [float(array[0, 0]) for array in first] == [4.0, 2.0], "they stay as they were"

    def test_who_computes_is_told(self, tflite: Path) -> None:
        by_delegate, by_itself = (
            litert.load(str(tflite), {**XNNPACK, "provider": provider}) for provider in litert.providers()
        )
        assert (by_delegate.provider_used, by_itself.provider_used) == ("XNNPACK", "builtin")
        assert by_delegate.placement() == ({"XNNPACK": {"ADD": 1, "SUB": 1}}, None)
        assert by_itself.placement() == ({"builtin": {"ADD": 1, "SUB": 1}}, None)

    def test_other_sizes_are_refused_by_a_model_of_fixed_ones(self, tflite: Path) -> None:
        model = litert.load(str(tflite), XNNPACK)
        with pytest.raises(RuntimeError, match="resize dimension 0"):
            model.run({name: np.zeros((2, 4), np.float32) for name in "ab"})

    def test_what_is_no_model_is_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("ai_edge_litert")
        (tmp_path / "broken.tflite").write_bytes(b"not a model")
        with pytest.raises(ValueError, match="Flatbuffer"):
            litert.load(str(tmp_path / "broken.tflite"), XNNPACK)

    def test_the_version_is_found_without_an_import(self) -> None:
        pytest.importorskip("ai_edge_litert")
        import sys

        assert litert.find(sys.path) == litert.version()
        assert litert.providers() == ["XNNPACK", "builtin"]


def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


def test_what_lies_between_a_delegate_s_inputs_and_outputs_is_its_own() -> None:
    nodes = [
        op("PAD", [0], [1]),
        op("CONV_2D", [1, 9], [2]),
        op("RELU", [2], [3]),
        op("SHAPE", [3], [4]),
        op("SOFTMAX", [3, 4], [5]),
        op("DELEGATE", [0, 9], [3]),
        op("DELEGATE", [3, 4], [5]),
    ]
    assert litert.placed(nodes) == {
        "XNNPACK": {"PAD": 1, "CONV_2D": 1, "RELU": 1, "SOFTMAX": 1},
        "builtin": {"SHAPE": 1},
    }


def test_without_a_delegate_the_interpreter_computes_all() -> None:
    assert litert.placed([op("ADD", [0, 1], [2]), op("ADD", [2, 1], [3])]) == {"builtin": {"ADD": 2}}
    assert litert.placed([]) == {}


@pytest.mark.parametrize(
    ("entries", "version"),
    [
        ({"thing": None, "Some_Thing-1.2.3.dist-info": None}, "1.2.3"),
        ({"thing": None, "some.thing-2.0+cpu.dist-info": None}, "2.0+cpu"),
        ({"thing": None, "other-1.0.dist-info": None}, None),
        ({"some_thing-1.0.dist-info": None}, None),
        ({"thing": None, "some_thing-evil version.dist-info": None}, None),
    ],
)
def test_versions_are_read_from_names_of_folders(tmp_path: Path, entries: dict[str, None], version: str | None) -> None:
    for name in entries:
        (tmp_path / name).mkdir()
    assert distribution.version_in([str(tmp_path / "no"), str(tmp_path)], "thing", "some-thing") == version


def test_every_runtime_of_the_table_says_what_it_must() -> None:
    for name in TABLE:
        module = open_runtime(name)
        assert all(callable(getattr(module, part)) for part in ("find", "version", "providers", "load"))
        assert module.find([]) is None
