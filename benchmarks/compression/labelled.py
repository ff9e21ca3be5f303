"""Models with labelled data for the estimate's benchmark. Labels are the judge's alone: nothing that is scored sees them."""

from __future__ import annotations

import csv
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]
REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = 2600
"""Pictures of the example that are scored, of its test seed."""


class Labelled(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A model, its inputs [N, ...] as fed, class numbers [N], and inputs for calibration that are not among them."""

    name: str
    model: Path
    inputs: Any
    labels: Any
    calibration: Any


def testdata() -> Path | None:
    """Return the folder of shared models and data, None when it is absent."""
    folder = Path(os.environ.get("EDGEOPT_TESTDATA", REPOSITORY.parent / "shared" / "testdata"))
    return folder if (folder / "models").is_dir() else None


def squeezenet(folder: Path) -> Labelled:
    """SqueezeNet on one picture of every second ImageNet class: centre 224, BGR minus the mean."""
    data = folder / "data" / "imagenet_sample"
    inputs, labels = _read(data, _imagenet)
    model = folder / "models" / "imagenet" / "squeezenet_fp32_upcast.derived.onnx"
    return _divide("SqueezeNet 1.1", model, inputs, labels, calibration=60)


def resnet8(folder: Path) -> Labelled:
    """ResNet-8 on CIFAR-10 test pictures, raw 0 to 255, NHWC."""
    data = folder / "data" / "cifar10_test"
    inputs, labels = _read(data, lambda image: np.asarray(image.convert("RGB"), np.float32))
    model = folder / "models" / "mlperf_tiny" / "ic_resnet8_float.derived.onnx"
    return _divide("ResNet-8", model, inputs, labels, calibration=100)


def parts() -> Labelled:
    """The example's own network on pictures drawn for it."""
    sys.path.insert(0, str(REPOSITORY / "examples" / "parts"))
    dataset: Any = importlib.import_module("dataset")
    workers = os.cpu_count() or 1
    inputs = dataset.network_input(np.stack(list(dataset.pictures(dataset.TEST_SEED, PARTS, workers))))
    calibration = dataset.network_input(np.stack(list(dataset.pictures(dataset.SAMPLES_SEED, 100, workers))))
    return Labelled(
        name="parts",
        model=REPOSITORY / "examples" / "parts" / "model.onnx",
        inputs=inputs,
        labels=dataset.labels(dataset.TEST_SEED, PARTS),
        calibration=calibration,
    )


def _read(folder: Path, prepare: Any) -> tuple[Array, Array]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pictures = [prepare(Image.open(_find(folder, row["file"]))) for row in rows]
    return np.stack(pictures), np.array([int(row["class_index"]) for row in rows])


def _find(folder: Path, name: str) -> Path:
    direct = folder / name
    return direct if direct.is_file() else next(folder.rglob(name))


def _imagenet(image: Image.Image) -> Array:
    rgb = np.asarray(image.convert("RGB"), np.float32)
    top, left = (rgb.shape[0] - 224) // 2, (rgb.shape[1] - 224) // 2
    bgr = rgb[top : top + 224, left : left + 224, ::-1] - np.float32([103.939, 116.779, 123.68])
    return np.ascontiguousarray(bgr.transpose(2, 0, 1))


def _divide(name: str, model: Path, inputs: Array, labels: Array, *, calibration: int) -> Labelled:
    """A seeded part calibrates, the rest is the population."""
    order = np.random.default_rng(0).permutation(len(inputs))
    kept, rest = order[:calibration], order[calibration:]
    return Labelled(name=name, model=model, inputs=inputs[rest], labels=labels[rest], calibration=inputs[kept])
