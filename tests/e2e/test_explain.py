"""`edgeopt explain`, as a user runs it."""

from __future__ import annotations

import json

import onnx
import pytest

from tests import models
from tests.e2e.conftest import Computer

pytestmark = pytest.mark.e2e


def test_explain_says_what_runs_in_int8_and_why_the_rest_does_not(computer: Computer) -> None:
    """A variant by its name, the same by its file, and a float file."""
    computer.ok("compile", "model.onnx", "--samples", "samples", "--out", "made", "--budget", "instant")
    index = json.loads((computer.project / "made" / "variants.json").read_text())

    told = computer.json("explain", "made", "int8-static")
    assert told["variant"] == "int8-static"
    assert [product["kind"] for product in told["coverage"]["products"]] == ["Conv", "Gemm"]
    assert told["coverage"]["x86_share"] == 1.0
    assert told["notes"] == next(v["notes"] for v in index["variants"] if v["name"] == "int8-static")
    assert computer.json("explain", "made/int8-static/model.onnx")["coverage"] == told["coverage"]

    said = computer.ok("explain", "made", "int8-static")
    assert "by the x86 rules 2 of 2 products run in int8, 100.00 % of multiplications" in said
    assert "calibrated on 20 samples: samples" in said
    said = computer.ok("explain", "model.onnx")
    assert "by the ARM rules 0 of 2 products run in int8" in said
    assert "dense (Gemm, 0.00 M multiplications): its weights are float" in said


def test_what_cannot_be_explained_is_a_sentence(computer: Computer) -> None:
    """Every wrong name says which there are."""
    onnx.save(models.conv_net(), computer.project / "conv.onnx")
    computer.ok("compile", "conv.onnx", "--out", "made", "--recipes", "clean,int8-dynamic")

    assert "There are: original, clean" in computer.fails(2, "unknown-variant", "explain", "made")
    computer.fails(2, "unknown-variant", "explain", "made", "magic")
    assert "no matrix product" in computer.fails(2, "unknown-variant", "explain", "made", "int8-dynamic")
    computer.fails(2, "usage", "explain", "conv.onnx", "clean")
    computer.fails(2, "model-missing", "explain", "nothing.onnx")
    computer.fails(2, "model-missing", "explain", "samples", "clean")
    (computer.project / "made" / "variants.json").write_text("{}")
    computer.fails(2, "model-unreadable", "explain", "made", "clean")
