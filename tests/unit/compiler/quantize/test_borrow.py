"""What other quantisers find, through our legaliser: what is tried, judged, kept, and said when a tool fails."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from edgeopt.compiler.quantize.borrow import borrow
from edgeopt.compiler.quantize.budgets import BUDGETS
from edgeopt.compiler.quantize.encoding import S8S8, U8S8
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.quantize.tools import WAYS, Way
from edgeopt.compiler.refuse import Refused
from tests.unit.compiler.quantize import foreign, nets


def made(tmp_path, tool="ort", *, model=None, budget="standard", signed=False, count=100):
    samples = nets.feeds(tmp_path, count=count)
    return borrow(
        model or nets.classifier(),
        samples,
        tool,
        encoding=S8S8 if signed else U8S8,
        budget=BUDGETS[budget],
        scratch=tmp_path,
    )


def fail(words):
    def make(*_):
        raise RuntimeError(words)

    return make


@pytest.fixture
def ways(monkeypatch):
    """Replace what a tool can do."""

    def put(*each):
        monkeypatch.setitem(WAYS, "ort", each)

    return put


@pytest.mark.parametrize("signed", [False, True])
def test_ort_fuses_whole_and_the_better_biases_are_kept(tmp_path, signed):
    result = made(tmp_path, signed=signed)
    assert result.coverage.fused(arm=signed) == len(result.coverage.products) == 4
    tried = {note.split(": ")[1]: float(note.split(": ")[2].split()[0]) for note in result.notes if "tried" in note}
    assert list(tried) == ["min-max ranges", "min-max ranges, biases corrected anew"]
    assert f"chosen: {max(tried, key=lambda name: tried[name])}" in result.notes


def test_correcting_biases_helps_where_rounding_moved_the_means(tmp_path, ways):
    """Weights all rounded down, as no tool does: every channel's mean is off, and only the bias can bring it back."""
    chain = nets.Chain().conv(8).clip(2.0).conv(8, group=8).clip(2.0).conv(8).op("Relu").op("GlobalAveragePool")

    def floored(model, feeds, _):
        def product(writer, node):
            node.input[0] = writer.activation(node.input[0], np.uint8)
            name = node.input[1]
            step = np.abs(writer.constants[name]).max() / 31
            writer.constants[name] = (np.floor(writer.constants[name] / step) * step).astype(np.float32)
            node.input[1] = writer.weight(name, np.int8)

        return foreign.Writer(model, feeds).write(product)

    ways(Way(name="floor", make=floored))
    result = made(tmp_path, model=chain.gemm(5).model())
    plain, corrected = (float(note.split(": ")[2].split()[0]) for note in result.notes if note.startswith("tried"))
    assert corrected > plain + 5


def test_a_way_that_fails_is_a_remark_and_the_others_go_on(tmp_path, ways):
    ways(Way(name="broken", make=fail("Error: Duplicate definition-site for (r1).")), *WAYS["ort"])
    result = made(tmp_path, budget="instant")
    assert "broken failed: Error: Duplicate definition-site for (r1)." in result.notes
    assert any(note.startswith("chosen: min-max ranges") for note in result.notes)


def test_a_tool_all_of_whose_ways_fail_is_refused_with_their_words(tmp_path, ways):
    ways(Way(name="one", make=fail("no")), Way(name="two", make=fail("")))
    with pytest.raises(Refused, match="one failed: no; two failed: RuntimeError") as caught:
        made(tmp_path)
    assert caught.value.code == "step-failed"


def test_memory_that_ran_out_is_no_remark(tmp_path, ways):
    ways(Way(name="greedy", make=fail("std::bad_alloc")), *WAYS["ort"])
    with pytest.raises(MemoryError):
        made(tmp_path)


def test_the_instant_budget_leaves_thorough_ways_out(tmp_path, ways):
    ways(*WAYS["ort"], Way(name="thorough", make=fail("was tried"), thorough=True))
    assert not any("thorough" in note for note in made(tmp_path, budget="instant").notes)
    assert any("thorough failed" in note for note in made(tmp_path).notes)


def test_layers_that_the_tool_changed_are_not_corrected(tmp_path, ways):
    """One that answers with other layers cannot be compared with the float network layer by layer."""
    other = nets.Chain().conv(4).op("Relu").conv(8).op("Relu").op("GlobalAveragePool").gemm(5).op("Softmax").model()
    ways(Way(name="other", make=lambda _, feeds, __: foreign.nncf_like(other, feeds)))
    assert [note for note in made(tmp_path).notes if note.startswith("tried")] != []
    assert not any("corrected" in note for note in made(tmp_path).notes)


def test_layers_that_the_tool_left_in_float_do_not_stop_the_correction(tmp_path, ways):
    def but_last(model, feeds, _):
        def product(writer, node):
            if node.op_type == "Conv":
                node.input[0] = writer.activation(node.input[0], np.uint8)
                node.input[1] = writer.weight(node.input[1], np.int8)

        return foreign.Writer(model, feeds).write(product)

    ways(Way(name="partly", make=but_last))
    result = made(tmp_path)
    assert "1 layers stay float" in result.notes
    assert any("corrected anew" in note for note in result.notes)


@pytest.mark.parametrize(("tool", "module"), [("nncf", "nncf"), ("aimet", "aimet_onnx")])
def test_the_real_tool(tmp_path, tool, module):
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    judges = nets.feeds(tmp_path, seed=1)
    truth = answers(nets.classifier(), judges, fused=False)
    result = made(tmp_path, tool, count=40)
    assert result.coverage.x86_share == 1.0
    assert sqnr_db(truth, answers(result.model, judges, fused=True)) > 30


def test_every_tool_has_a_way_that_no_budget_leaves_out():
    assert all(any(not way.thorough for way in each) for each in WAYS.values())
