"""A board whose TensorRT is a stand-in for NVIDIA's trtexec: built, measured, installed and rolled back like any runtime. Never run on a Jetson."""

from __future__ import annotations

import json
import os

import onnx
import pytest

from tests import models
from tests.e2e.conftest import QUICK, Computer, write_samples
from tests.fakes.trtexec import write_trtexec

pytestmark = pytest.mark.e2e


def test_tensorrt_joins_the_race_and_its_release_is_checked_on_the_board(computer: Computer) -> None:
    write_trtexec(computer.project / "bin")
    computer.environment["PATH"] = f"{computer.project / 'bin'}:{os.environ['PATH']}"
    onnx.save(models.wide_classifier(1000), computer.project / "model.onnx")
    write_samples(computer.project / "few", count=6)  # each answer is a process
    quick = [word for word in QUICK if word not in ("--runtimes", "onnxruntime")]
    words = ("--samples", "few", "--device", "board", "--min-agreement", "0.5", "--objective", "size")

    done = computer.run("deploy", "model.onnx", *words, "--recipes", "original,tensorrt-int8", "--json", *quick)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    measured = {c["candidate"]: c for c in document["candidates"]}
    assert set(measured) == {"original@all", "tensorrt-int8@gpu"}
    assert all(c["p50_ms"] for c in measured.values())
    assert measured["tensorrt-int8@gpu"]["agreement_where"] == "device"
    assert document["pick"]["candidate"] == "tensorrt-int8@gpu"
    (app,) = computer.json("status", "--device", "board")["status"]["apps"]
    assert app["healthy_files"]
    assert app["current"] == document["release"]["digest"]


def test_without_trtexec_it_is_said_what_to_install(computer: Computer) -> None:
    said = computer.fails(
        4,
        "runtime-missing",
        *("bench", "model.onnx", "--samples", "samples", "--device", "board", "--recipes", "tensorrt"),
        *("--budget", "instant"),
    )

    assert "there is no trtexec that starts" in " ".join(said.split())
    assert "libnvinfer-bin" in said
