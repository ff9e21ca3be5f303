"""ncnn on the device: a block of its own, what the setting says, what the file lists. Runs where the agent's interpreter has ncnn."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeopt_agent.runtimes import ncnn
from tests.agent import models
from tests.agent.client import Client, file_entry
from tests.agent.test_block import failure, time_job

SETTING = {"runtime": "ncnn", "provider": "CPU", "threads": 1}
PARAM = "7767517\n2 2\nInput in0 0 1 in0\nReLU relu 1 1 in0 out0\n"
BORDER: dict[str, Any] = {
    "inputs": [
        {"name": "x", "dtype": "float32", "shape": [1, 4], "blob": "in0", "fed": [4], "fed_as": "float32"},
        {"name": "unused", "dtype": "int64", "shape": [1], "blob": "in1", "fed": [1], "fed_as": "int32"},
    ],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 4], "blob": "out0"}],
}


def staged(client: Client, tmp_path: Path, param: str = PARAM) -> dict[str, str]:
    """A network of one Relu, and samples; their paths on the device."""
    arrays = {f"s{i}.{j}": np.full((1, 4) if j == 0 else (1,), i - 0.5, np.float32) for i in range(3) for j in range(2)}
    files = {
        "net.param": param.encode(),
        "net.bin": b"\0\0\0\0",
        "model.json": json.dumps(BORDER).encode(),
        "inputs.npz": models.npz(arrays, tmp_path),
    }
    for data in files.values():
        client.put(data)
    rows = [file_entry(name, data) for name, data in files.items()]
    folder = client.call("stage", digest="a" * 64, files=rows)["folder"]
    return {"model": f"{folder}/net.param", "inputs": f"{folder}/inputs.npz"}


def job(paths: dict[str, str], **changes: Any) -> dict[str, Any]:
    return time_job(paths, runtime="ncnn", **({"setting": SETTING} | changes))


@pytest.fixture
def board(locked: Client, python: str) -> Client:
    """An agent whose interpreter has ncnn."""
    if subprocess.run([python, "-I", "-c", "import ncnn"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no ncnn")
    return locked


class TestBlock:
    def test_it_is_timed_like_any_other(self, board: Client, tmp_path: Path) -> None:
        result = board.call("block", **job(staged(board, tmp_path)))
        assert result["status"] == "ok"
        assert len(result["latencies_ns"]) >= 5
        assert result["provider_used"] == "CPU"
        assert result["runtime_version"][0].isdigit()

    def test_its_answers_have_the_models_shape(self, board: Client, tmp_path: Path) -> None:
        paths = staged(board, tmp_path)
        out = str(Path(paths["model"]).parent / "out.npz")
        result = board.call("block", **job(paths, mode="outputs", out=out, limit_samples=3, limit_bytes=1 << 20))
        assert result["placement"] == {"CPU": {"ReLU": 1}}
        with np.load(result["file"]["path"]) as answers:
            assert [answers[f"s{i}.0"].tolist() for i in range(3)] == [[[0.0] * 4], [[0.5] * 4], [[1.5] * 4]]

    @pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", None])
    def test_every_precision_is_a_setting(self, board: Client, tmp_path: Path, precision: str | None) -> None:
        result = board.call("block", **job(staged(board, tmp_path), setting={**SETTING, "precision": precision}))
        assert result["status"] == "ok"

    @pytest.mark.parametrize("param", ["", "7767517\n1 1\nNoSuchLayer a 0 1 out0\n", PARAM[:40]])
    def test_a_file_that_is_none_is_a_failure_while_loading(self, board: Client, tmp_path: Path, param: str) -> None:
        kind, phase, detail = failure(board.call("block", **job(staged(board, tmp_path, param))))
        assert (kind, phase) == ("error", "load")
        assert detail.startswith("ValueError: ncnn cannot read net.param (code ")


def test_the_file_says_what_is_computed() -> None:
    text = """7767517
5 5
Input                    in0  0 1 in0
Split                    s    1 2 in0 1 2
Convolution              a    1 1 1 3 0=8 1=3 8=102 9=1
Convolution              b    1 1 2 4 0=8 1=3 8=0
Pooling                  p    1 1 4 5 0=0 8=3
"""
    assert ncnn.layers_of(text) == ["Convolution int8", "Convolution", "Pooling"]


@pytest.mark.parametrize(("precision", "is_on"), [("fp32", []), ("fp16", ["use_fp16_storage"])])
def test_an_older_version_lacks_options(precision: str, is_on: list[str]) -> None:
    """And computes floats in 16 bits unless it is told not to."""
    options = SimpleNamespace(use_fp16_storage=True, use_bf16_storage=True)
    ncnn._compute_in(options, precision)
    assert [name for name, value in vars(options).items() if value] == is_on


def test_its_version_is_found_without_an_import(tmp_path: Path) -> None:
    assert ncnn.find([str(tmp_path)]) is None
    (tmp_path / "ncnn").mkdir()
    (tmp_path / "ncnn-1.0.20261020.dist-info").mkdir()
    assert ncnn.find([str(tmp_path / "none"), str(tmp_path)]) == "1.0.20261020"
