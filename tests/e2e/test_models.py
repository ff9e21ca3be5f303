"""Real models, made by other people's exporters: every one ends in variants and sentences, never in a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.outputs import host_outputs
from edgeopt.compiler.plan import plan_variants
from edgeopt.compiler.same import random_feeds
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Built, Skipped
from edgeopt.errors import ModelError
from edgeopt.profiles.load import load_profile
from edgeopt.samples.record import Samples, make_samples, split

RECIPES = ("clean", "fp16", "int8-dynamic", "int8-static")

EXPECTED = {
    "audio/silero_vad.onnx": {"clean"},
    "audio/silero_vad_16k_op15.onnx": {"clean", "fp16", "int8-dynamic", "int8-static"},
    "detect/nanodet_m.onnx": {"clean", "fp16", "int8-static"},
    "face/ultraface_RFB_320.onnx": {"clean", "fp16", "int8-static"},
    "face/yunet_n_320_320.onnx": {"clean", "fp16", "int8-static"},
    "imagenet/squeezenet_fp16.onnx": {"clean", "int8-static"},
    "imagenet/squeezenet_fp32_upcast.derived.onnx": {"clean", "fp16", "int8-static"},
    "misc/mnist_cntk_opset8.onnx": {"clean", "fp16", "int8-dynamic", "int8-static"},
    "misc/style_candy.onnx": {"clean", "fp16"},
    "misc/yolox_auto_compress_0.7.onnx": {"clean", "fp16", "int8-static"},
    "mlperf_tiny/ad01_fcae_float.derived.onnx": {"clean", "fp16", "int8-dynamic", "int8-static"},
    "mlperf_tiny/ic_resnet8_float.derived.onnx": {"clean", "fp16", "int8-dynamic", "int8-static"},
    "mlperf_tiny/vww_96_float.derived.onnx": {"clean", "fp16", "int8-dynamic", "int8-static"},
}
"""What is built of each; every other recipe is skipped with a reason."""

TASKS = {
    "silero_vad": "other",
    "silero_vad_16k_op15": "other",
    "nanodet_m": "detection",
    "ultraface_RFB_320": "detection",
    "yunet_n_320_320": "detection",
    "yolox_auto_compress_0.7": "detection",
    "style_candy": "regression",
    "ad01_fcae_float.derived": "regression",
}
"""Of all models that are no classifiers."""
LEAST_COSINE = {"clean": 0.999999, "fp16": 0.99, "int8-dynamic": 0.9, "int8-static": 0.8}
"""On noise, which is no model's home: a broken graph falls far below, the rest is for real samples to say."""

COUNT = 6


def plausible(model: ModelInfo) -> Samples:
    """Noise of the model's signature; the voice detectors get their sample rate and an empty state."""
    rows = []
    for feed in random_feeds(model.inputs, 512 if "silero" in model.name else 64, count=COUNT):
        if "silero" in model.name:
            feed |= {"state": np.zeros((2, 1, 128), dtype=np.float32), "sr": np.array(16000)}
        rows.append([feed[spec.name] for spec in model.inputs])
    return make_samples([spec.name for spec in model.inputs], rows, source="noise")


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_model_becomes_variants_and_sentences(shared_testdata, tmp_path, name):
    path = shared_testdata / "models" / name
    profile = load_profile("pi4")
    model = inspect_model(path)
    assert model.task == TASKS.get(model.name, "classification"), model.task_reason
    calibration, heldout = split(plausible(model), seed=0, calibration=3)
    planned = plan_variants(model, profile, recipes=RECIPES, has_samples=True, budget="instant")
    variants = build_variants(planned, model_path=path, model=model, calibration=calibration, cache=tmp_path / "cache")
    assert [variant.name for variant in variants] == ["original", *RECIPES]
    assert {variant.name for variant in variants[1:] if isinstance(variant, Built)} == EXPECTED[name]
    for skipped in (variant for variant in variants if isinstance(variant, Skipped)):
        assert "Traceback" not in skipped.reason
        assert 20 < len(skipped.reason) < 400
    reference = host_outputs(path, heldout, workdir=tmp_path)
    for made in (variant for variant in variants[1:] if isinstance(variant, Built)):
        answers = host_outputs(Path(made.folder) / made.files[0].path, heldout, workdir=tmp_path)
        result = compare(reference, answers, task=model.task, where="host", inputs=model.inputs)
        assert result.finite
        assert result.cosine > LEAST_COSINE[made.name], made.name


def test_other_formats_are_named(shared_testdata):
    """Every file that is no ONNX model is refused with the way to one."""
    for path in sorted((shared_testdata / "models").rglob("*")):
        if path.suffix == ".h5":
            with pytest.raises(ModelError) as caught:
                inspect_model(path)
            assert caught.value.code == "model-unsupported"
            assert caught.value.hint


def test_tflite_files_are_read(shared_testdata):
    """All of them run; of most there is a float network, and those of one that has none say why."""
    pytest.importorskip("ai_edge_litert")
    as_it_is = {}
    for path in sorted((shared_testdata / "models").rglob("*.tflite")):
        model = inspect_model(path)
        assert model.format == "tflite"
        as_it_is |= {path.stem: model.not_rebuilt} if model.not_rebuilt else {}
        codes = [spec for spec in (*model.inputs, *model.outputs) if spec.dtype in ("int8", "uint8")]
        assert all(spec.scale is not None for spec in codes) or path.stem.startswith("movenet")
    assert list(as_it_is) == ["mnist_lstm_float"]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in as_it_is["mnist_lstm_float"]


def test_every_onnx_model_is_covered(shared_testdata):
    found = {str(path.relative_to(shared_testdata / "models")) for path in (shared_testdata / "models").rglob("*.onnx")}
    assert found == EXPECTED.keys()
