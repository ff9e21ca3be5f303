"""Drawn pictures, fitted in a child and kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from edgeopt.compiler import fit_pictures as host
from edgeopt.compiler.fit_pictures import NotFitted, fit_pictures, has_norms
from edgeopt.compiler.model_info import inspect_model
from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.samples.record import Samples, make_samples
from tests.builders import make_model
from tests.unit.compiler.train.test_statistics import SIZE, normed_net


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(normed_net(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def drawn(count: int = 12) -> Samples:
    pictures = np.random.default_rng(1).uniform(0, 1, (count, 1, 3, SIZE, SIZE)).astype(np.float32)
    return make_samples(["x"], [[picture] for picture in pictures], source="synthetic: drawn", synthetic=True)


def fit(model: Path, samples: Samples, tell: Any = lambda _: None) -> Any:
    return fit_pictures(model, inspect_model(model), samples, model.parent / "cache", tell)


def test_what_was_fitted_once_is_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the model's content and the pictures'."""
    samples, said = drawn(), []
    made, found = fit(model, samples, said.append)
    assert found.norms == 2
    assert found.after < found.before
    assert made.source == "synthetic: drawn, fitted to 2 batch norms"
    assert made.synthetic
    assert len(made) == len(samples)
    assert made.digest != samples.digest
    assert any("fit" in line for line in said)

    monkeypatch.setattr(host, "run_confined", lambda *_args, **_options: pytest.fail("it is there already"))
    again, known = fit(model, samples)
    assert (again.digest, known) == (made.digest, found)


@pytest.mark.parametrize("name", ["*.npz", "*.json"])
def test_a_damaged_file_is_made_anew(model: Path, name: str) -> None:
    samples = drawn()
    made, _ = fit(model, samples)
    (damaged,) = (model.parent / "cache" / "fitted").glob(name)
    damaged.write_bytes(b"half")
    assert fit(model, samples)[0].digest == made.digest


def test_why_not_is_a_sentence(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child refuses; and that PyTorch is missing."""
    onnx.save(normed_net(norms=0), model)
    with pytest.raises(NotFitted, match="none of its batch norms is known"):
        fit(model, drawn())
    assert list((model.parent / "cache" / "fitted").iterdir()) == []
    monkeypatch.setattr(host, "installed_tools", dict)
    with pytest.raises(NotFitted, match=r"pip install 'edgeopt\[torch\]'"):
        fit(model, drawn())


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"op_counts": {"Conv": 3}}, False),
        ({"format": "tflite"}, False),
        ({"inputs": (TensorSpec(name="x", dtype="uint8", shape=(1, 3, 8, 8)),)}, False),
    ],
    ids=["norms", "merged", "tflite", "integers"],
)
def test_what_there_is_to_fit_to(changes: dict[str, Any], fits: bool) -> None:
    base: dict[str, Any] = {"inputs": (TensorSpec(name="x", dtype="float32", shape=(1, 3, 8, 8)),)}
    model: ModelInfo = make_model(**base | {"op_counts": {"BatchNormalization": 3}} | changes)
    assert has_norms(model) == fits
