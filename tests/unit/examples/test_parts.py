"""The example: its data are reproducible and balanced, its network is the one declared and as good as declared."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset import PIXEL_MEAN, PIXEL_STD, TEST_SEED, labels, network_input, pictures
from edgeopt.domain.preprocess import Preprocess
from edgeopt.profiles.config import load_config
from edgeopt.samples.preprocess import apply
from evaluate import interval, predict
from outlines import CLASS_NAMES, OUTLINES

PARTS = Path(__file__).resolve().parents[3] / "examples" / "parts"
MODEL = PARTS / "model.onnx"
FRESH_SEED = 424_242


def digest(seed: int, count: int, workers: int = 1) -> str:
    """Of all pixels of the first pictures of a seed."""
    return hashlib.sha256(b"".join(each.tobytes() for each in pictures(seed, count, workers))).hexdigest()


def run_script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One of the example's scripts, run as a user would."""
    return subprocess.run(
        [sys.executable, PARTS / name, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_pictures_are_the_same_when_the_seed_is_the_same() -> None:
    """One process or two make no difference, another seed does."""
    assert digest(5, 20) == digest(5, 20) == digest(5, 20, workers=2)
    assert digest(5, 20) != digest(6, 20)


def test_a_picture_does_not_depend_on_how_many_are_made() -> None:
    """The first pictures of a long series are those of a short one."""
    few, many = list(pictures(5, 3)), list(islice(pictures(5, 1_000), 3))
    assert all(np.array_equal(one, other) for one, other in zip(few, many, strict=True))


@settings(deadline=None)  # a busy machine is no failure
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_classes_are_balanced_for_any_seed_and_count(seed: int, count: int) -> None:
    """No class comes twice more than another, and the order is not the same for all seeds."""
    counts = np.bincount(labels(seed, count), minlength=len(CLASS_NAMES))
    assert len(counts) == len(CLASS_NAMES)
    assert counts.max() - counts.min() <= 1


def test_pictures_use_the_range_of_a_camera() -> None:
    """RGB bytes, neither black nor blank, about as bright as the declared normalisation says."""
    stack = np.stack(list(pictures(FRESH_SEED, 130)))
    assert stack.dtype == np.uint8
    assert stack.shape == (130, 96, 96, 3)
    assert stack.std(axis=(1, 2, 3)).min() > 5
    assert abs(stack.mean() - PIXEL_MEAN) < 15
    assert abs(stack.std() - PIXEL_STD) < 15


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_an_outline_stays_in_its_circle_whatever_its_proportions(name: str) -> None:
    """Something is inside, nothing is outside of radius 1.15."""
    axis = np.linspace(-2, 2, 161, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    far = np.hypot(x, y) > 1.15
    for seed in range(40):
        inside = OUTLINES[name](x, y, np.random.default_rng(seed)) < 0
        assert inside.sum() > 250
        assert not (inside & far).any()


def test_generate_writes_the_pictures_and_labels_of_the_seed(tmp_path: Path) -> None:
    """PNG loses nothing, the file name tells no class, labels.csv tells all."""
    done = run_script("generate.py", "--out", tmp_path / "new", "--count", "15", "--seed", "9", "--labels")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("15 pictures of 13 kinds")
    files = sorted((tmp_path / "new").glob("*.png"))
    assert [file.name for file in files] == [f"part-{index:05d}.png" for index in range(15)]
    for file, expected in zip(files, pictures(9, 15), strict=True):
        with Image.open(file) as image:
            assert np.array_equal(np.asarray(image), expected)
    with (tmp_path / "new" / "labels.csv").open(encoding="utf-8") as table:
        rows = [(row["file"], row["label"]) for row in csv.DictReader(table)]
    assert rows == [(file.name, CLASS_NAMES[label]) for file, label in zip(files, labels(9, 15), strict=True)]


def test_generate_writes_no_labels_unless_asked(tmp_path: Path) -> None:
    """The samples that edgeopt sees are unlabelled."""
    assert run_script("generate.py", "--out", tmp_path, "--count", "1").returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["part-00000.png"]


@pytest.mark.parametrize("wrong", [("--count", "0"), ("--seed", "-1"), ("--workers", "0")])
def test_generate_refuses_nonsense_in_a_sentence(wrong: tuple[str, str], tmp_path: Path) -> None:
    """A usage error, no traceback."""
    done = run_script("generate.py", "--out", tmp_path, *wrong)
    assert done.returncode == 2
    assert "must be at least 1" in done.stderr


def test_edgeopt_prepares_pictures_as_the_network_was_trained() -> None:
    """The committed edgeopt.toml is valid and means what dataset.network_input does."""
    config = load_config(PARTS / "edgeopt.toml")
    assert isinstance(config.preprocess, Preprocess)
    assert (config.model, config.samples) == ("model.onnx", "samples")
    (picture,) = pictures(FRESH_SEED, 1)
    expected = network_input(picture[None])[0]
    np.testing.assert_allclose(np.squeeze(apply(picture, config.preprocess)), expected, atol=1e-5)


def test_committed_model_is_the_declared_one() -> None:
    """Signature, operator set, size."""
    model = onnx.load(MODEL)
    onnx.checker.check_model(model, full_check=True)
    shapes = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "logits"]
    assert shapes == [["N", 3, 96, 96], ["N", len(CLASS_NAMES)]]
    assert model.opset_import[0].version == 17
    assert model.ir_version <= 9
    assert MODEL.stat().st_size < 2_000_000


def test_committed_model_is_as_good_as_declared_on_fresh_pictures() -> None:
    """300 pictures of a seed that nothing else uses; the floor is three standard errors under the declared accuracy."""
    stack = np.stack(list(pictures(FRESH_SEED, 300, workers=2)))
    accuracy = float((predict(MODEL, stack) == labels(FRESH_SEED, 300)).mean())
    assert 0.82 <= accuracy < 1


def test_evaluate_tells_truth_and_agreement() -> None:
    """A model agrees with itself and loses nothing."""
    done = run_script("evaluate.py", "--model", MODEL, "--original", MODEL, "--count", "70", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    stack = np.stack(list(pictures(TEST_SEED, 70)))
    assert figures["accuracy"] == float((predict(MODEL, stack) == labels(TEST_SEED, 70)).mean())
    assert figures["low"] < figures["accuracy"] < figures["high"]
    assert (figures["agreement"], figures["accuracy_drop"], figures["count"]) == (1, 0, 70)


def test_evaluate_refuses_what_it_cannot_judge(tmp_path: Path) -> None:
    """No such file, and a network with another input."""
    assert "no such model" in run_script("evaluate.py", "--model", tmp_path / "absent.onnx").stderr
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 7])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 7])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "other", [value], [out])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opset), tmp_path / "other.onnx")
    done = run_script("evaluate.py", "--model", tmp_path / "other.onnx", "--count", "1")
    assert done.returncode == 1
    assert "not a variant of this example's network" in done.stderr
    assert "Traceback" not in done.stderr


@settings(deadline=None)  # a busy machine is no failure
@given(count=st.integers(1, 5_000), share=st.floats(0, 1))
def test_interval_is_wilsons(count: int, share: float) -> None:
    """Against SciPy's."""
    scipy_stats = pytest.importorskip("scipy.stats")
    hits = round(share * count)
    expected = scipy_stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert interval(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-6)
