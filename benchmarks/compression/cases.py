"""The networks that are compared, and what each is calibrated and scored on. A case knows its data, never what a contender should do with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pictures
from labelled import testdata
from PIL import Image

from edgeopt.domain.model import Task

Array = np.ndarray[Any, np.dtype[Any]]
Divide = Callable[[int], tuple[list[Array], list[Array]]]
"""Seed -> (calibration, held out); nothing is in both."""

CALIBRATION = 300
SHARE = 0.6
"""Of what there is calibrates, where that is less than CALIBRATION."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What issue 3 asks of one variant: agreement (0..1), outputs' SQNR in dB, latency over fp32 as given at two threads; None where nothing is asked."""

    agreement: float
    sqnr_db: float | None
    ratio: float


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A float model with unlabelled data. `calibrated` and `scored` say in words what the samples are; `seeds` is how many splits are worth their time."""

    name: str
    title: str
    model: Path
    task: Task
    divide: Divide
    calibrated: str
    scored: str
    seeds: int = 1
    target: Target | None = None


def find_cases(work: Path) -> list[Case]:
    """Every case whose data is there; converted models are written into `work`."""
    folder = testdata()
    if folder is None:
        return []
    return [*_classifiers(folder, work), *_faces(folder), *_others(folder)]


def _classifiers(folder: Path, work: Path) -> list[Case]:
    models, data = folder / "models", folder / "data"
    mobilenet = work / "mobilenet_v1_0.25_128.onnx"
    if not mobilenet.is_file():
        from tflite_float import float_onnx

        float_onnx(models / "imagenet" / "mobilenet_v1_0.25_128_quant.tflite", mobilenet)
    natural = "300 ImageNet pictures"
    return [
        Case(
            name="squeezenet",
            title="SqueezeNet 1.1",
            model=models / "imagenet" / "squeezenet_fp32_upcast.derived.onnx",
            task="classification",
            divide=_shuffled(data / "imagenet_sample", 500, pictures.squeezenet),
            calibrated=natural,
            scored="200 others",
            seeds=3,
            target=Target(agreement=0.975, sqnr_db=27.0, ratio=0.60),
        ),
        Case(
            name="resnet8",
            title="ResNet-8",
            model=models / "mlperf_tiny" / "ic_resnet8_float.derived.onnx",
            task="classification",
            divide=_shuffled(data / "cifar10_test", 1000, pictures.cifar),
            calibrated="300 CIFAR-10 test pictures",
            scored="700 others",
            seeds=3,
            target=Target(agreement=0.98, sqnr_db=29.0, ratio=0.83),
        ),
        Case(
            name="mobilenet",
            title="MobileNet v1 0.25 128 (depthwise)",
            model=mobilenet,
            task="classification",
            divide=_shuffled(data / "imagenet_sample", 500, pictures.mobilenet_128),
            calibrated=natural,
            scored="200 others",
            seeds=3,
            target=Target(agreement=0.93, sqnr_db=23.0, ratio=0.83),
        ),
        Case(
            name="vww",
            title="Visual Wake Words 96 (depthwise)",
            model=models / "mlperf_tiny" / "vww_96_float.derived.onnx",
            task="classification",
            divide=_shuffled(data / "imagenet_sample", 500, pictures.vww_96),
            calibrated=natural + " (not of its own kind)",
            scored="200 others",
            seeds=3,
        ),
    ]


def _faces(folder: Path) -> list[Case]:
    calibrated = "240 ImageNet pictures and 60 views of 6 photographs of people"
    scored = "60 views of the other 6 photographs"
    return [
        Case(
            name="ultraface",
            title="UltraFace RFB-320",
            model=folder / "models" / "face" / "ultraface_RFB_320.onnx",
            task="detection",
            divide=_with_people(folder, pictures.ultraface),
            calibrated=calibrated,
            scored=scored,
            seeds=3,
            target=Target(agreement=0.985, sqnr_db=None, ratio=0.30),
        ),
        Case(
            name="yunet",
            title="YuNet",
            model=folder / "models" / "face" / "yunet_n_320_320.onnx",
            task="detection",
            divide=_with_people(folder, pictures.yunet),
            calibrated=calibrated,
            scored=scored,
            seeds=3,
        ),
    ]


def _others(folder: Path) -> list[Case]:
    models, data = folder / "models", folder / "data"
    return [
        Case(
            name="nanodet",
            title="NanoDet-m 416",
            model=models / "detect" / "nanodet_m.onnx",
            task="detection",
            divide=_shuffled(data / "imagenet_sample", 250, pictures.nanodet),
            calibrated="150 ImageNet pictures",
            scored="100 others",
        ),
        Case(
            name="yolox",
            title="YOLOX (compressed) 512",
            model=models / "misc" / "yolox_auto_compress_0.7.onnx",
            # It finds ten boxes of a score over 0.25 on all of them, so boxes say nothing; its coarser grids hardly change, so errors over their spread do not either.
            task="other",
            divide=_shuffled(data / "imagenet_sample", 150, pictures.yolox_512),
            calibrated="90 ImageNet pictures",
            scored="60 others (hardly anything that it knows is on them: agreement is the mean cosine of its answers)",
        ),
        Case(
            name="ad01",
            title="ToyCar autoencoder (dense)",
            model=models / "mlperf_tiny" / "ad01_fcae_float.derived.onnx",
            task="regression",
            divide=_spectrogram(data / "ad01" / "normal_id_01_00000000_hist_librosa.bin"),
            calibrated="117 windows of one recording",
            scored="the other 79 (they overlap with those)",
        ),
    ]


def _shuffled(folder: Path, count: int, prepare: Callable[[Image.Image], Array]) -> Divide:
    def divide(seed: int) -> tuple[list[Array], list[Array]]:
        return _split([prepare(image) for image in pictures.listed(folder, count)], seed)

    return divide


def _split(rows: list[Array], seed: int) -> tuple[list[Array], list[Array]]:
    kept = min(CALIBRATION, round(SHARE * len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order[:kept]], [rows[i] for i in order[kept:]]


def _with_people(folder: Path, prepare: Callable[[Image.Image], Array]) -> Divide:
    """Pictures of everything, and views of half of the photographs with faces; the other half is the judge's."""

    def divide(seed: int) -> tuple[list[Array], list[Array]]:
        photographs = sorted((folder / "data" / "faces").glob("*.jpg"))
        order = np.random.default_rng(seed).permutation(len(photographs))
        half = len(order) // 2
        seen, unseen = (
            [prepare(view) for i in part for view in pictures.views(photographs[i])]
            for part in (order[:half], order[half:])
        )
        others = [prepare(image) for image in pictures.listed(folder / "data" / "imagenet_sample", 240)]
        rows = [*seen, *others]
        return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))], unseen

    return divide


def _spectrogram(path: Path) -> Divide:
    """Windows of five frames of 128 log-mel bands, float32 [1, 640]. MLPerf Tiny, anomaly detection."""

    def divide(seed: int) -> tuple[list[Array], list[Array]]:
        frames = np.frombuffer(path.read_bytes(), "<f4").reshape(-1, 128)
        return _split([frames[i : i + 5].reshape(1, 640).copy() for i in range(len(frames) - 4)], seed)

    return divide
