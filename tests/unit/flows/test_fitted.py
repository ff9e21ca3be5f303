"""When drawn pictures are fitted to a network's batch norms, and what is said when not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from edgeopt.compiler.fit_pictures import Fit, NotFitted
from edgeopt.domain.goal import Goal
from edgeopt.domain.model import TensorSpec
from edgeopt.domain.observer import Silent
from edgeopt.domain.run import MeasurePlan, SamplesInfo
from edgeopt.domain.variant import Built, Recovery
from edgeopt.flows import fitted
from edgeopt.flows.compile import compile_model
from edgeopt.flows.prepare import Job
from edgeopt.flows.request import Request
from edgeopt.profiles.inventory import LOCAL
from edgeopt.profiles.load import load_profile
from edgeopt.profiles.places import Places
from edgeopt.samples.record import Samples, make_samples
from tests.builders import make_model


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def samples(value: float, source: str = "synthetic: drawn pictures of seed 0") -> Samples:
    return make_samples(["x"], [[np.full((1, 3, 8, 8), value, np.float32)]] * 3, source=source, synthetic=True)


def job(**changes: Any) -> Job:
    info = SamplesInfo(source=samples(0).source, count=6, calibration=3, heldout=3, digest="0", synthetic=True)
    model = make_model(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 3, 8, 8)),), op_counts={"BatchNormalization": 2}
    )
    made = Job(
        app="app",
        named="m.onnx",
        model_path=Path("m.onnx"),
        model=model,
        device=LOCAL,
        profile=load_profile("generic-x86_64"),
        goal=Goal(),
        plan=MeasurePlan(),
        recipes=None,
        budget="standard",
        recovery=Recovery(),
        student=None,
        curves=None,
        threads=(0,),
        calibration=samples(0.0),
        heldout=samples(1.0),
        samples_info=info,
        samples_named=True,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(config=tmp_path, data=tmp_path, cache=tmp_path)


def test_both_parts_are_fitted_each_by_itself(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what judges is like what calibrates, and shares nothing with it."""

    def fit(_path: Path, _model: Any, part: Samples, cache: Path, tell: Any) -> Any:
        assert cache == places.cache
        tell("pictures fitted: 1/3")
        moved = make_samples(
            ["x"], [[row[0] + 0.5] for row in part.arrays], source=f"{part.source}, fitted to 2 batch norms"
        )
        return moved, Fit(norms=2, before=1.0, after=0.1)

    monkeypatch.setattr(fitted, "fit_pictures", fit)
    made = fitted.with_fitted_pictures(job(), places, Told())
    assert made.calibration.arrays[0][0].max() == 0.5
    assert made.heldout.arrays[0][0].max() == 1.5
    assert made.samples_info is not None
    assert made.samples_info.source == "synthetic: drawn pictures of seed 0, fitted to 2 batch norms"
    assert made.samples_info.digest == made.calibration.digest


def test_what_cannot_be_is_a_note(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: Any) -> Any:
        raise NotFitted("PyTorch is missing")

    monkeypatch.setattr(fitted, "fit_pictures", fails)
    observer, asked = Told(), job()
    assert fitted.with_fitted_pictures(asked, places, observer) is asked
    assert observer.notes == [
        "drawn pictures were not fitted to the network's 2 batch norms, which would calibrate better: PyTorch is missing"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": "instant"},
        {"recipes": ("original", "clean")},
        {"samples_info": None, "calibration": None, "heldout": None},
        {"samples_info": SamplesInfo(source="photos", count=6, calibration=3, heldout=3, digest="0")},
        {
            "samples_info": SamplesInfo(
                source="synthetic: random numbers of seed 0",
                count=6,
                calibration=3,
                heldout=3,
                digest="0",
                synthetic=True,
            )
        },
    ],
    ids=["no time", "nothing to calibrate", "no samples", "the user's own", "noise"],
)
def test_others_are_left_as_they_are(changes: dict[str, Any], places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "fit_pictures", lambda *_args: pytest.fail("nothing is to be fitted"))
    asked = job(**changes)
    assert fitted.with_fitted_pictures(asked, places, Told()) is asked


def test_a_build_without_samples_is_calibrated_on_fitted_pictures(places: Places, tmp_path: Path) -> None:
    """The real thing: drawn, fitted in a child, and named in what was built."""
    pytest.importorskip("torch")
    from tests.unit.compiler.train.test_statistics import normed_net

    onnx.save(normed_net(), tmp_path / "m.onnx")
    config = tmp_path / "edgeopt.toml"
    config.write_text('model = "m.onnx"\nsamples = "synthetic"\ncalibration = 40\n[preprocess]\nscale = 0.004\n')
    request = Request(config=config, recipes=("original", "int8-static"))
    made = compile_model(request, None, places, Silent()).variants
    (variant,) = (each for each in made if isinstance(each, Built) and each.name == "int8-static")
    assert "calibrated on 40 samples: synthetic: drawn pictures of seed 0, fitted to 2 batch norms" in variant.notes
