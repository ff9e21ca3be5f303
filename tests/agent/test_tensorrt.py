"""TensorRT through a stand-in for its program (tests/fakes/trtexec.py): engines built once, rebuilt where they do not fit, answers, blocks. Never run on a Jetson."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_agent.errors import BlockFailed
from edgeopt_agent.runtimes import python_folders, tensorrt
from tests.agent import models
from tests.agent.client import Client, file_entry
from tests.fakes.trtexec import write_trtexec

pytest.importorskip("onnxruntime")

GPU = {"runtime": "tensorrt", "provider": "GPU", "threads": 0}
BORDER = {
    "inputs": [{"name": name, "dtype": "float32", "shape": [1, 4]} for name in ("b", "a")],
    "outputs": [{"name": name, "dtype": "float32", "shape": [1, 4]} for name in ("sum", "diff")],
    "int8": False,
}
FEED = {"a": np.full((1, 4), 1.0, np.float32), "b": np.full((1, 4), 3.0, np.float32)}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the PATH, with a stand-in."""
    folder = tmp_path / "bin"
    write_trtexec(folder)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


@pytest.fixture
def model(tmp_path: Path, programs: Path) -> Path:
    """Sum and difference of two inputs, in a device tree."""
    folder = tmp_path / "tree" / "staged" / "x"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(models.TWO_INPUTS)
    (folder / "model.json").write_text(json.dumps(BORDER))
    return folder / "model.onnx"


def engines(model: Path) -> list[Path]:
    return sorted((model.parents[2] / "engines").glob("*.engine"))


def test_answers_come_by_name_in_the_order_of_the_model(model: Path) -> None:
    opened = tensorrt.load(str(model), GPU)

    assert (opened.input_names, opened.output_names) == (["b", "a"], ["sum", "diff"])
    assert [float(array[0, 0]) for array in opened.run(FEED)] == [4.0, 2.0]
    assert [array.dtype for array in opened.run(FEED)] == [np.float32, np.float32]
    with pytest.raises(ValueError, match=r"input b is \[1, 5\], the file is for \[1, 4\]"):
        opened.run({**FEED, "b": np.zeros((1, 5), np.float32)})


def test_an_engine_is_built_once_for_each_precision_and_lies_in_the_device_tree(model: Path) -> None:
    tensorrt.load(str(model), GPU)
    (first,) = engines(model)
    written = first.stat().st_mtime_ns
    tensorrt.load(str(model), GPU)
    tensorrt.load(str(model), {**GPU, "precision": "fp16"})

    assert first.stat().st_mtime_ns == written
    assert len(engines(model)) == 2
    assert all(path.name.startswith(f"{hashlib.sha256(models.TWO_INPUTS).hexdigest()}.") for path in engines(model))
    assert [path.name for path in engines(model)[0].parent.iterdir() if not path.name.endswith(".engine")] == []


def test_an_engine_for_another_gpu_is_built_anew(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt.load(str(model), GPU)
    monkeypatch.setenv("TRTEXEC_GPU", "7.2")
    opened = tensorrt.load(str(model), GPU)

    assert [float(array[0, 0]) for array in opened.run(FEED)] == [4.0, 2.0]
    assert engines(model)[0].read_bytes().startswith(b"8502 7.2\n")


def test_a_model_that_tensorrt_refuses_leaves_a_sentence_and_no_engine(model: Path, programs: Path) -> None:
    write_trtexec(
        programs,
        does="""
if "onnx" in flags:
    print("&&&& RUNNING TensorRT.trtexec [TensorRT v8502]")
    open(flags["saveEngine"], "w").write("half")
    print("[11/26/2026-12:00:00] [E] [TRT] No importer registered for op: Foo")
    print("&&&& FAILED TensorRT.trtexec [TensorRT v8502]")
    sys.exit(1)
""",
    )
    with pytest.raises(BlockFailed, match=r"^TensorRT does not know the operator Foo$"):
        tensorrt.load(str(model), GPU)
    assert list((model.parents[2] / "engines").iterdir()) == []


def test_without_the_program_there_is_no_such_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tensorrt, "PLACES", ())

    assert tensorrt.find(python_folders()) is None
    with pytest.raises(ImportError, match="no trtexec on this device"):
        tensorrt.version()


def test_the_version_is_the_programs_and_it_needs_numpy(programs: Path, tmp_path: Path) -> None:
    assert tensorrt.find(python_folders()) == tensorrt.version() == "8.5.2"
    assert tensorrt.find([str(tmp_path)]) is None
    write_trtexec(programs, does="sys.exit('cannot open shared object file: libnvinfer.so.8')")
    assert tensorrt.find(python_folders()) is None


def inputs() -> bytes:
    made = io.BytesIO()
    np.savez(made, **{"s0.0": FEED["b"], "s0.1": FEED["a"]})
    return made.getvalue()


class TestBlocks:
    """Through the agent as it is shipped, in a process of its own."""

    @pytest.fixture
    def there(self, start: Callable[..., Client], python: str, programs: Path) -> tuple[Client, dict[str, Any]]:
        if subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False).returncode:
            pytest.skip(f"{python} has no numpy")
        client = start()
        client.lock()
        rows = []
        for name, data in (
            ("model.onnx", models.TWO_INPUTS),
            ("model.json", json.dumps(BORDER).encode()),
            ("inputs.npz", inputs()),
        ):
            client.put(data)
            rows.append(file_entry(name, data))
        folder = client.call("stage", digest="a" * 64, files=rows)["folder"]
        times = {"min_s": 0.01, "min_inferences": 5, "max_s": 5, "warmup_min_s": 0.001, "warmup_min_inferences": 2}
        paths = {"model": f"{folder}/model.onnx", "inputs": f"{folder}/inputs.npz"}
        job = {"runtime": "tensorrt", "site": None, "setting": GPU, "timeout_s": 60, **times, **paths}
        return client, job

    def test_a_block_has_the_latencies_that_the_program_tells(self, there: tuple[Client, dict[str, Any]]) -> None:
        client, job = there
        result = client.call("block", mode="time", **job)

        assert result["status"] == "ok", result
        assert len(result["latencies_ns"]) + len(result["warmup_ns"]) >= 5
        assert result["provider_used"] == "GPU"
        assert result["runtime_version"] == "8.5.2"
        assert (result["load_ns"], result["feeds"]) == (12_300_000, 1)
        assert result["first_ns"] is None
        assert "first inference" in result["first_ns_reason"]
        assert result["peak_rss_bytes"] > 1 << 20

    def test_another_scenario_is_refused_with_the_reason(self, there: tuple[Client, dict[str, Any]]) -> None:
        client, job = there
        offline = {"name": "offline", "streams": 4}
        result = client.call("block", mode="time", scenario=offline, **job)

        assert result["status"] == "failed"
        assert "knows no other scenario" in result["failure"]["detail"]


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("/srv/apps/u/.edgeopt/staged/d1/model.onnx", "/srv/apps/u/.edgeopt/engines"),
        ("/srv/staged/.edgeopt/apps/apps/releases/d1/model.onnx", "/srv/staged/.edgeopt/engines"),
        ("/home/u/.edgeopt/apps/app/current/model.onnx", "/home/u/.edgeopt/engines"),
        ("/elsewhere/model.onnx", "/home/me/.edgeopt/engines"),
    ],
)
def test_engines_are_kept_in_a_tree_of_the_users_own(monkeypatch: pytest.MonkeyPatch, model: str, folder: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert tensorrt.engines_folder(model) == folder
