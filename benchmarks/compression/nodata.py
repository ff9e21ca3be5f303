"""int8 calibrated on nothing against int8 calibrated on the user's pictures, judged by labels that neither sees.

    python benchmarks/compression/nodata.py [--seeds 3] [--budget standard] [--json FILE]

For every network and seed, 200 pictures drawn by the seed calibrate the recipe `int8-static`; it is built on those, and again on 200 synthetic ones of the same
preprocessing (`edgeopt.samples.invent`). All three, with the float network, answer the pictures that the real calibration left over. The difference of two
accuracies over N pictures has the standard error sd(right_a - right_b) / sqrt(N), which is printed: with a few hundred pictures it is about a point.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import labelled
import msgspec
import numpy as np
from labelled import Array
from PIL import Image
from tflite_float import float_onnx

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.outputs import host_outputs
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.preprocess import Preprocess
from edgeopt.domain.variant import Budget, Built
from edgeopt.profiles.load import load_profile
from edgeopt.samples.invent import invent_samples
from edgeopt.samples.preprocess import apply, complete
from edgeopt.samples.record import Samples, make_samples

CALIBRATION = 200


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A labelled network. `shift` is added to the data's class numbers to have the network's."""

    name: str
    model: Path
    data: Path
    preprocess: Preprocess
    shift: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One network and seed. All but names are shares of the `scored` pictures; `noise` is the standard error of `synthetic - real`."""

    network: str
    seed: int
    scored: int
    original: float
    real: float
    synthetic: float
    noise: float
    real_agrees: float
    synthetic_agrees: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", choices=["instant", "standard", "deep"], default="standard")
    parser.add_argument("--json", type=Path, help="write every result there")
    options = parser.parse_args()
    folder = labelled.testdata()
    if folder is None:
        parser.exit(2, "no shared test data: set EDGEOPT_TESTDATA\n")
    results = []
    with tempfile.TemporaryDirectory() as work:
        for network in _networks(folder, Path(work)):
            for seed in range(options.seeds):
                results.append(_measure(network, seed, options.budget, Path(work)))
                print(msgspec.json.encode(results[-1]).decode(), flush=True)
    _print(results)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode(results))


def _networks(folder: Path, work: Path) -> Iterator[Network]:
    models, data = folder / "models", folder / "data"
    yield Network(
        name="ResNet-8",
        model=models / "mlperf_tiny" / "ic_resnet8_float.derived.onnx",
        data=data / "cifar10_test",
        preprocess=Preprocess(layout="NHWC", dtype="float32"),
    )
    mobilenet = work / "mobilenet.onnx"
    float_onnx(models / "imagenet" / "mobilenet_v1_0.25_128_quant.tflite", mobilenet)
    yield Network(
        name="MobileNet v1 0.25 128",
        model=mobilenet,
        data=data / "imagenet_sample",
        preprocess=Preprocess(resize=146, crop=(128, 128), mean=(128.0,), std=(128.0,)),
        shift=1,
    )
    yield Network(
        name="SqueezeNet 1.1",
        model=models / "imagenet" / "squeezenet_fp32_upcast.derived.onnx",
        data=data / "imagenet_sample",
        preprocess=Preprocess(crop=(224, 224), channels="BGR", mean=(103.939, 116.779, 123.68), std=(1.0,)),
    )


def _measure(network: Network, seed: int, budget: Budget, work: Path) -> Result:
    model = inspect_model(network.model)
    inputs, labels = _read(network, model)
    order = np.random.default_rng(seed).permutation(len(inputs))
    rest = order[CALIBRATION:]
    scored, truth = _samples(model, inputs[rest]), labels[rest]
    calibrations = {
        "real": _samples(model, inputs[order[:CALIBRATION]]),
        "synthetic": invent_samples(model, CALIBRATION, seed, preprocess=network.preprocess),
    }
    original = _classes(network.model, scored, work)
    found = {
        word: _classes(_built(network.model, model, samples, budget, work), scored, work)
        for word, samples in calibrations.items()
    }
    lost = (found["synthetic"] == truth).astype(float) - (found["real"] == truth)
    return Result(
        network=network.name,
        seed=seed,
        scored=len(rest),
        original=float((original == truth).mean()),
        real=float((found["real"] == truth).mean()),
        synthetic=float((found["synthetic"] == truth).mean()),
        noise=float(lost.std() / np.sqrt(len(rest))),
        real_agrees=float((found["real"] == original).mean()),
        synthetic_agrees=float((found["synthetic"] == original).mean()),
    )


def _read(network: Network, model: ModelInfo) -> tuple[Array, Array]:
    """Inputs [N, ...] as fed, without a batch axis, and the network's class numbers [N]."""
    settings, _ = complete(network.preprocess, model.inputs[0], model.inputs[0].shape)
    with (network.data / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = (Image.open(next(network.data.rglob(row["file"].rpartition("/")[2]))) for row in rows)
    inputs = np.stack([apply(np.asarray(image.convert("RGB")), settings) for image in images])
    return inputs, np.array([int(row["class_index"]) + network.shift for row in rows])


def _samples(model: ModelInfo, inputs: Array) -> Samples:
    return make_samples([model.inputs[0].name], [[row[None]] for row in inputs], source="labelled pictures")


def _built(path: Path, model: ModelInfo, calibration: Samples, budget: Budget, work: Path) -> Path:
    """The file of int8-static."""
    profile = load_profile("local", work)
    planned = plan_variants(model, profile, recipes=("int8-static",), has_samples=True, budget=budget)
    made = build_variants(planned, model_path=path, model=model, calibration=calibration, cache=work / "cache")[-1]
    if not isinstance(made, Built):
        raise SystemExit(f"{path.name}: {made.reason}")
    return Path(made.folder) / made.files[0].path


def _classes(model: Path, samples: Samples, work: Path) -> Array:
    return np.array([int(row[0].reshape(-1).argmax()) for row in host_outputs(model, samples, workdir=work)])


def _print(results: list[Result]) -> None:
    heads = ("fp32", "real", "synthetic", "difference", "noise", "agrees: real", "synthetic")
    print(f"\nmedians over seeds, %\n{'':<24}" + "".join(f"{head:>14}" for head in heads))
    for name in dict.fromkeys(result.network for result in results):
        own = [result for result in results if result.network == name]
        figures = (
            median(r.original for r in own),
            median(r.real for r in own),
            median(r.synthetic for r in own),
            median(r.synthetic - r.real for r in own),
            median(r.noise for r in own),
            median(r.real_agrees for r in own),
            median(r.synthetic_agrees for r in own),
        )
        print(f"{name:<24}" + "".join(f"{100 * figure:>14.2f}" for figure in figures))
    print(json.dumps({"nodata": [msgspec.to_builtins(result) for result in results]}))


if __name__ == "__main__":
    main()
