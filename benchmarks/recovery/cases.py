"""Networks for the benchmarks of recovery: an original, what pruning left of it, pictures to learn from and others, with their classes, to judge by.

Labels judge, and nothing else reads them. The pruned networks lie in the work folder: `prepare` makes them where they are missing, which takes onnxslim and some minutes; everything else runs from there.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "examples" / "parts")]

from edgeopt.compiler.running import Feeds  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]
MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Network:
    """`share` of its time is what pruning left, by count; `steps` what the ablation trains."""

    name: str
    share: float
    steps: int
    model: Callable[[Path], Path]
    read: Callable[[Path], tuple[Array, Array]]
    learned_from: int


@dataclass(frozen=True)
class Case:
    """`inputs` [N, ...] as fed, `labels` [N]; the first `split` in `order` are learned from, the others judge."""

    name: str
    steps: int
    teacher: Any
    student: Any
    inputs: Array
    labels: Array
    split: int
    order: Array

    @property
    def input_name(self) -> str:
        return str(self.teacher.graph.input[0].name)

    def judged(self) -> tuple[Array, Array]:
        rest = self.order[self.split :]
        return self.inputs[rest], self.labels[rest]

    def samples(self, folder: Path) -> Feeds:
        path = folder / "samples.npz"
        chosen = self.order[: self.split]
        np.savez(path, **{f"s{i}.0": self.inputs[index][None] for i, index in enumerate(chosen)})
        return Feeds(path, (self.input_name,), len(chosen))


def default_data() -> Path:
    return Path(os.environ.get("EDGEOPT_TESTDATA", REPOSITORY.parent / "shared" / "testdata"))


def _table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open() as stream:
        return list(csv.DictReader(stream))


def _imagenet(data: Path) -> tuple[Array, Array]:
    folder = data / "data" / "imagenet_sample"
    rows = _table(folder)
    pictures = []
    for row in rows:
        image = Image.open(folder / "images" / row["file"]).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)[:, :, ::-1]
        pictures.append((pixels - np.array(MEAN, np.float32)).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(pictures), np.float32), np.array([int(row["class_index"]) for row in rows])


def _cifar(data: Path) -> tuple[Array, Array]:
    folder = data / "data" / "cifar10_test"
    rows = _table(folder)
    pictures = [np.asarray(Image.open(folder / "images" / row["file"]).convert("RGB"), np.float32) for row in rows]
    return np.stack(pictures), np.array([int(row["class_index"]) for row in rows])


def _parts(_data: Path) -> tuple[Array, Array]:
    """300 pictures of the seed that samples are from, 500 of the seed that judges."""
    import dataset

    seeds = ((dataset.SAMPLES_SEED, 300), (dataset.TEST_SEED, 500))
    pictures = np.concatenate([np.stack(list(dataset.pictures(seed, count))) for seed, count in seeds])
    return dataset.network_input(pictures), np.concatenate([dataset.labels(seed, count) for seed, count in seeds])


NETWORKS = {
    "squeezenet": Network(
        "squeezenet",
        0.75,
        400,
        lambda data: data / "models" / "imagenet" / "squeezenet_fp32_upcast.derived.onnx",
        _imagenet,
        400,
    ),
    "resnet8": Network(
        "resnet8",
        0.8,
        400,
        lambda data: data / "models" / "mlperf_tiny" / "ic_resnet8_float.derived.onnx",
        _cifar,
        500,
    ),
    "parts": Network("parts", 0.6, 400, lambda _data: REPOSITORY / "examples" / "parts" / "model.onnx", _parts, 300),
}


def load(name: str, data: Path, work: Path, *, split_seed: int = 0) -> Case:
    """A case, its student from the work folder."""
    network = NETWORKS[name]
    inputs, labels = _cached(name, data, work)
    # Of the example, samples and judging pictures are of different seeds; of the rest, an order decides.
    order = np.arange(len(labels)) if name == "parts" else np.random.default_rng(split_seed).permutation(len(labels))
    teacher, student = (work / f"{name}.{role}.onnx" for role in ("teacher", "student"))
    if not student.is_file():
        prepare(name, data, work, inputs[order[: network.learned_from]])
    return Case(
        name=name,
        steps=network.steps,
        teacher=onnx.load(teacher),
        student=onnx.load(student),
        inputs=inputs,
        labels=labels,
        split=network.learned_from,
        order=order,
    )


def _cached(name: str, data: Path, work: Path) -> tuple[Array, Array]:
    """Pictures as fed; those that are drawn take a while, and are kept."""
    path = work / f"{name}.npz"
    if name != "parts":
        return NETWORKS[name].read(data)
    if not path.is_file():
        inputs, labels = NETWORKS[name].read(data)
        # As the bytes of pixels again: a quarter of the size.
        import dataset

        pixels = np.rint(inputs * dataset.PIXEL_STD + dataset.PIXEL_MEAN).astype(np.uint8)
        np.savez_compressed(path, pixels=pixels, labels=labels)
    with np.load(path) as archive:
        pixels, labels = archive["pixels"], archive["labels"]
    return (pixels.astype(np.float32) - np.float32(104.0)) / np.float32(56.0), labels


def prepare(name: str, data: Path, work: Path, inputs: Array) -> None:
    """Write the tidy original and what pruning leaves of it, fitted to the pictures that are learned from and to nothing else."""
    from edgeopt.compiler.prune.budgets import BUDGETS
    from edgeopt.compiler.prune.cost import rates_of
    from edgeopt.compiler.prune.run import prune
    from edgeopt.compiler.steps import STEPS, Bench

    work.mkdir(parents=True, exist_ok=True)
    path = NETWORKS[name].model(data)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(source=path, scratch=Path(folder), samples=None, max_opset=21, max_ir_version=10)
        model = onnx.load(path)
        for step, options in (("clean", {}), ("float32", {}), ("upgrade_opset", {"at_least": 13})):
            model = STEPS[step](model, options, bench)
        onnx.save(model, work / f"{name}.teacher.onnx")
        np.savez(Path(folder) / "s.npz", **{f"s{i}.0": x[None] for i, x in enumerate(inputs[:200])})
        feeds = Feeds(Path(folder) / "s.npz", (model.graph.input[0].name,), min(200, len(inputs)))
        share = NETWORKS[name].share
        made = prune(model, feeds, latency=share, block=16, rates=rates_of(None, None), budget=BUDGETS["standard"])
    print(f"{name}: {'; '.join(made.notes)}", flush=True)
    onnx.save(made.model, work / f"{name}.student.onnx")


def answers(model: Any, inputs: Array) -> Array:
    """Class probabilities, or whatever it answers, of all inputs by ONNX Runtime, one after the other; [N, classes]."""
    from edgeopt.compiler.runtime import open_session

    session = open_session(model.SerializeToString())
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0].reshape(1, -1) for x in inputs])


def distributions(made: Array) -> Array:
    """As probabilities, whether they are already or are logits."""
    made = made.astype(np.float64)
    if made.min() >= 0 and np.allclose(made.sum(1), 1, atol=1e-3):
        return made
    shifted = np.exp(made - made.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def scores(teacher: Array, student: Array, labels: Array) -> dict[str, float]:
    """Agreement, mean divergence in nats, and accuracy by the labels."""
    p, q = distributions(teacher), distributions(student)
    divergence = (p * (np.log(p + 1e-12) - np.log(q + 1e-12))).sum(1)
    return {
        "agreement": float((p.argmax(1) == q.argmax(1)).mean()),
        "kl": float(divergence.mean()),
        "top1": float((q.argmax(1) == labels).mean()),
    }
