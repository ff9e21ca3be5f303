"""Inputs for users who have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.domain.preprocess import Preprocess
from edgeopt.errors import SamplesError
from edgeopt.samples.invent import assumes_range, invent_samples
from edgeopt.samples.pictures import draw_picture
from edgeopt.samples.read import load_samples
from tests.builders import make_model

IMAGENET = Preprocess(resize=40, crop=(32, 32), channels="BGR", mean=(104.0, 117.0, 124.0))


def model(**inputs: tuple[Any, ...]) -> ModelInfo:
    specs = (TensorSpec(name=name, dtype=form[0], shape=tuple(form[1:])) for name, form in inputs.items())
    return make_model(inputs=tuple(specs))


def first(info: ModelInfo, **options: Any) -> Any:
    return invent_samples(info, 1, 0, **options).arrays[0][0]


@pytest.mark.parametrize(
    ("form", "settings", "size"),
    [
        (("float32", 1, 3, 32, 32), None, (32, 32)),
        (("float32", "N", 3, 32, 32), IMAGENET, (53, 40)),
        (("uint8", 1, 24, 32, 3), None, (32, 24)),
        (("float32", 1, 32, 32, 1), Preprocess(resize=(32, 32), std=(255.0,)), (32, 32)),
        (("float32", 1, 3, 32, 48), Preprocess(resize=(48, 32), letterbox=True), (48, 36)),
        (("float64", 1, 3, "h", "w"), Preprocess(crop=(32, 20)), (32, 20)),
        (("float32", 1, 3, 32, 32), Preprocess(resize=(2000, 2000), crop=(32, 32)), (1024, 1024)),
    ],
)
def test_a_drawn_picture_is_fed_as_the_same_picture_from_a_file(
    tmp_path: Path, form: tuple[Any, ...], settings: Preprocess | None, size: tuple[int, int]
) -> None:
    """So the ranges that int8 is calibrated on are those of the application."""
    info = model(x=form)
    picture = draw_picture(np.random.default_rng([5, 0, 0]), *size)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    read = load_samples(".", base=tmp_path, preprocess=settings, model=info, limit=1)

    invented = invent_samples(info, 1, 5, preprocess=settings)

    assert invented.arrays[0][0].dtype == read.arrays[0][0].dtype
    np.testing.assert_array_equal(invented.arrays[0][0], read.arrays[0][0])


def test_the_same_seed_gives_the_same_and_parts_share_nothing() -> None:
    info = model(x=("float32", 1, 3, 16, 16))
    few, many = invent_samples(info, 2, 0), invent_samples(info, 4, 0)
    assert np.array_equal(few.arrays[1][0], many.arrays[1][0])
    seen = {row[0].tobytes() for part in (0, 1) for row in invent_samples(info, 4, 0, part=part).arrays}
    assert len(seen) == 8
    assert few.synthetic
    assert few.source == "synthetic: drawn pictures of seed 0"


def test_fixed_batches_bare_pictures_and_open_sides() -> None:
    """A batch holds different pictures; sides that nobody fixes are 224 pixels."""
    batch = first(model(x=("float32", 4, 3, 16, 16)))
    assert batch.shape == (4, 3, 16, 16)
    assert len({picture.tobytes() for picture in batch}) == 4
    assert first(model(x=("float32", 3, 16, 16))).shape == (3, 16, 16)
    assert first(model(x=("uint8", None, None, None, 3))).shape == (1, 224, 224, 3)
    grey = Preprocess(layout="NCHW", channels="GRAY", resize=(20, 20))
    assert first(model(x=("float32", 1, None, None, None)), preprocess=grey).shape == (1, 1, 20, 20)
    assert first(model(x=("float32", 1, 3, "h", "w")), shapes={"x": (1, 3, 16, 24)}).shape == (1, 3, 16, 24)


@pytest.mark.parametrize(
    "form",
    [
        ("float32", 1, 40),
        ("float32", 1, 1, 49, 10),
        ("float32", 1, 1, 16, 8000),
        ("float32", 1, 8, 32, 32),
        ("float32", 1, 3, 32, 3),
        ("float32", 1, 3, 3, 3),
        ("int64", 1, 3, 32, 32),
        ("float16", 1, 2, 3, 4, 5),
    ],
)
def test_what_takes_no_pictures_is_fed_noise_and_that_is_said(form: tuple[Any, ...]) -> None:
    """Spectrograms, signals and features have no likeness that could be drawn."""
    samples = invent_samples(model(x=form), 3, 0)
    assert samples.source == "synthetic: random numbers of seed 0"
    assert samples.arrays[0][0].dtype == np.dtype(form[0])
    assert "says little of your data" in samples.notes[0]


def test_noise_is_of_moderate_variance_and_valid_where_it_counts() -> None:
    info = model(x=("float32", 1, 4000), ids=("int64", 1, 9), flag=("bool", 3), text=("str", 2))
    x, ids, _, text = invent_samples(info, 1, 0).arrays[0]
    assert abs(float(x.mean())) < 0.1
    assert abs(float(x.std()) - 1) < 0.1
    assert set(np.unique(ids)) <= {0, 1}
    assert text.tolist() == ["a", "a"]


def test_a_model_of_pictures_and_numbers_gets_both() -> None:
    samples = invent_samples(model(x=("uint8", 1, 3, 16, 16), size=("float32", 1, 2)), 1, 7)
    assert samples.source == "synthetic: drawn pictures and random numbers of seed 7"
    assert len(samples.notes) == 3


def test_memory_is_bounded() -> None:
    """Fewer samples of large inputs, and a sentence where one is too large."""
    assert len(invent_samples(model(x=("float32", 1, 60_000_000)), 9, 0)) == 2
    with pytest.raises(SamplesError, match="one synthetic sample would take"):
        invent_samples(model(x=("float32", 1, 300_000_000)), 1, 0)


def test_unsaid_ranges_are_assumptions() -> None:
    """Whole numbers say their range themselves, settings tell it, and noise has none."""
    picture = model(x=("float32", 1, 3, 32, 32))
    assert assumes_range(picture, None)
    assert not assumes_range(picture, IMAGENET)
    assert not assumes_range(model(x=("uint8", 1, 3, 32, 32)), None)
    assert not assumes_range(model(x=("float32", 1, 40)), None)
    with pytest.raises(SamplesError):
        invent_samples(make_model(inputs=(TensorSpec(name="x", dtype="float32", shape=None),)), 1, 0)
