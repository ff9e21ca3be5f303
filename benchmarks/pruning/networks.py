"""The networks whose curves are drawn, and the pictures that each is fitted to and scored on."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pictures
from labelled import REPOSITORY, _read, testdata

WIDE = REPOSITORY / "build" / "wide" / "resnet18.onnx"
"""Where wide.py leaves it."""

RECIPES = ("pruned-10", "pruned-20", "pruned-30", "int8-static", "pruned-10-int8", "pruned-20-int8")
"""Without their training; with `--recover` also as they are."""

WIDE_RECIPES = ("pruned-30", "pruned-50", "int8-static", "pruned-50-int8")
WIDE_SCORED = 1000


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A classifier, its pictures with classes [N], and how many of them calibrate."""

    name: str
    title: str
    model: Path
    inputs: Any
    labels: Any
    calibration: int
    recipes: tuple[str, ...] = RECIPES


def find_networks(work: Path) -> dict[str, Callable[[], Network]]:
    """By name, what makes each network whose files are there; converted ones are written into `work`."""
    folder = testdata()
    found = {"parts": _parts} | ({"wide": _wide} if WIDE.is_file() else {})
    return found if folder is None else found | _shared(folder, work)


def _shared(folder: Path, work: Path) -> dict[str, Callable[[], Network]]:
    models, data = folder / "models", folder / "data"

    def network(name: str, title: str, model: Path, source: str, prepare: Any, calibration: int, first: int) -> Network:
        inputs, labels = _read(data / source, prepare)
        return Network(
            name=name, title=title, model=model, inputs=inputs, labels=labels + first, calibration=calibration
        )

    def mobilenet() -> Network:
        model = work / "mobilenet_v1_0.25_128.onnx"
        if not model.is_file():
            from tflite_float import float_onnx

            float_onnx(models / "imagenet" / "mobilenet_v1_0.25_128_quant.tflite", model)
        title = "MobileNet v1 0.25 128 (depthwise)"
        return network("mobilenet", title, model, "imagenet_sample", pictures.mobilenet_128, 400, 1)

    squeezenet = models / "imagenet" / "squeezenet_fp32_upcast.derived.onnx"
    resnet8 = models / "mlperf_tiny" / "ic_resnet8_float.derived.onnx"
    return {
        "squeezenet": lambda: network(
            "squeezenet", "SqueezeNet 1.1", squeezenet, "imagenet_sample", pictures.squeezenet, 400, 0
        ),
        "resnet8": lambda: network("resnet8", "ResNet-8", resnet8, "cifar10_test", pictures.cifar, 500, 0),
        "mobilenet": mobilenet,
    }


def _parts() -> Network:
    model = REPOSITORY / "examples" / "parts" / "model.onnx"
    return _example("parts", "The example", model, fitted=600, scored=2600, recipes=RECIPES)


def _wide() -> Network:
    title = "ResNet-18, the example's parts at 96 x 96"
    return _example("wide", title, WIDE, fitted=300, scored=WIDE_SCORED, recipes=WIDE_RECIPES)


def _example(name: str, title: str, model: Path, *, fitted: int, scored: int, recipes: tuple[str, ...]) -> Network:
    """A network of ours on pictures of other seeds than it was trained on; as many as one seed has calibrate."""
    sys.path.insert(0, str(REPOSITORY / "examples" / "parts"))
    dataset: Any = importlib.import_module("dataset")
    workers = os.cpu_count() or 1
    counts = {dataset.SAMPLES_SEED: fitted, dataset.TEST_SEED: scored}
    drawn = [np.stack(list(dataset.pictures(seed, count, workers))) for seed, count in counts.items()]
    return Network(
        name=name,
        title=title,
        model=model,
        inputs=dataset.network_input(np.concatenate(drawn))[:, None],
        labels=np.concatenate([dataset.labels(seed, count) for seed, count in counts.items()]),
        calibration=fitted,
        recipes=recipes,
    )
