"""Models that nobody here made, through the whole loop: each ends in a table or a sentence, none in a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import QUICK, Computer

pytestmark = pytest.mark.e2e

Make = Callable[[np.random.Generator], dict[str, np.ndarray]]


def image(name: str, *shape: int, dtype: str = "float32", scale: float = 255.0) -> Make:
    return lambda g: {name: (g.random(shape) * scale).astype(dtype)}


def speech(g: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "input": (g.standard_normal((1, 576)) * 0.1).astype(np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000, np.int64),
    }


MODELS: dict[str, tuple[Make, int]] = {
    "audio/silero_vad.onnx": (speech, 16),
    "audio/silero_vad_16k_op15.onnx": (speech, 16),
    "detect/nanodet_m.onnx": (image("input.1", 1, 3, 416, 416, scale=2.0), 8),
    "face/ultraface_RFB_320.onnx": (image("input", 1, 3, 240, 320, scale=2.0), 8),
    "face/yunet_n_320_320.onnx": (image("input", 1, 3, 320, 320), 8),
    "imagenet/squeezenet_fp16.onnx": (image("data_0", 1, 3, 224, 224, dtype="float16", scale=100.0), 16),
    "imagenet/squeezenet_fp32_upcast.derived.onnx": (image("data_0", 1, 3, 224, 224, scale=100.0), 16),
    "misc/mnist_cntk_opset8.onnx": (image("Input3", 1, 1, 28, 28), 16),
    "misc/yolox_auto_compress_0.7.onnx": (image("images", 1, 3, 512, 512), 4),
    "mlperf_tiny/ad01_fcae_float.derived.onnx": (image("input_1", 1, 640, scale=10.0), 16),
    "mlperf_tiny/ic_resnet8_float.derived.onnx": (image("input_1", 1, 32, 32, 3), 16),
    "mlperf_tiny/vww_96_float.derived.onnx": (image("input_1", 1, 96, 96, 3, scale=1.0), 16),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_is_measured_and_installed(computer: Computer, shared_testdata: Path, name: str) -> None:
    """Static and dynamic, several inputs and outputs, control flow, fp16, opset 7: every variant has a figure or a sentence, one is installed."""
    make, count = MODELS[name]
    generator = np.random.default_rng(0)
    folder = computer.project / "inputs"
    folder.mkdir()
    for number in range(count):
        np.savez(folder / f"{number:02}.npz", **make(generator))

    done = computer.run(
        "deploy",
        str(shared_testdata / "models" / name),
        "--samples",
        "inputs",
        "--device",
        "board",
        "--app",
        "app",
        "--recipes",
        "clean,int8-dynamic,int8-static",
        "--json",
        *QUICK,
        timeout_s=280,
    )

    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["release"] is not None
    named = {loser["name"] for loser in document["losers"]} | {document["pick"]["candidate"]}
    assert {c["candidate"] for c in document["candidates"]} <= named
    assert all(loser["reason"] for loser in document["losers"])


TFLITE: dict[str, Make] = {
    "audio/micro_speech_int8.tflite": lambda g: {"Reshape_1": g.integers(-128, 128, (1, 1960)).astype(np.int8)},
    "misc/mnist_lstm_float.tflite": image("serving_default_fixed_input:0", 1, 28, 28, scale=1.0),
    "mlperf_tiny/ic_resnet8_int8.tflite": lambda g: {
        "input_1_int8": g.integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)
    },
}


@pytest.mark.parametrize("name", TFLITE)
def test_a_tensorflow_lite_file_is_deployed_as_it_is(computer: Computer, shared_testdata: Path, name: str) -> None:
    """Quantised or not, and one with an LSTM, of which there is no ONNX graph: the very file is installed, and LiteRT runs it."""
    pytest.importorskip("ai_edge_litert")
    generator = np.random.default_rng(0)
    folder = computer.project / "inputs"
    folder.mkdir()
    for number in range(8):
        np.savez(folder / f"{number:02}.npz", **TFLITE[name](generator))
    path = shared_testdata / "models" / name
    words = ("--samples", "inputs", "--device", "board", "--app", "app", "--recipes", "original", "--json", *QUICK)

    done = computer.run("deploy", str(path), *words, "--runtimes", "litert", timeout_s=280)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["pick"]["candidate"].startswith("original@")
    assert document["release"] is not None
    installed = [each.read_bytes() for each in computer.board_root.rglob("model.tflite")]
    assert path.read_bytes() in installed
