"""From images to tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.domain.model import TensorSpec
from edgeopt.domain.preprocess import Preprocess
from edgeopt.errors import SamplesError
from edgeopt.samples.fit import fit
from edgeopt.samples.preprocess import apply, complete

Array = np.ndarray[Any, Any]


def spec(*shape: int | str | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name="x", dtype=dtype, shape=shape)


def completed(settings: Preprocess | None, of: TensorSpec) -> tuple[Preprocess, tuple[str, ...]]:
    return complete(settings, of, of.shape)


def picture(width: int = 4, height: int = 2) -> Array:
    """Red grows to the right, green downwards, blue is 7."""
    image = np.full((height, width, 3), 7, np.uint8)
    image[:, :, 0] = np.arange(width) * 10
    image[:, :, 1] = np.arange(height)[:, None] * 100
    return image


PLAIN = Preprocess(layout="NHWC", channels="RGB", dtype="float32")


def changed(**changes: Any) -> Preprocess:
    return Preprocess(**{"layout": "NHWC", "channels": "RGB", "dtype": "float32", **changes})


def test_without_steps_pixels_stay() -> None:
    """0..255, as floats."""
    np.testing.assert_array_equal(apply(picture(), PLAIN), picture().astype(np.float32))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "first"),
    [("int8", 1 / 255, -128, -128), ("uint8", 1 / 128, 128, 0), ("int8", 1.0, -128, -128)],
)
def test_pixels_of_a_quantised_input_are_its_codes(dtype: str, scale: float, zero: int, first: int) -> None:
    """Where nobody says otherwise: that is how converters quantise pictures. `fit` makes codes of the real numbers."""
    of = TensorSpec(name="x", dtype=dtype, shape=(1, 2, 4, 3), scale=scale, zero_point=zero)
    settings, notes = completed(None, of)
    codes = fit(apply(picture(), settings), of, of.shape, "a picture")
    np.testing.assert_array_equal(codes[0], picture().astype(int) + first)
    assert "codes of the quantised input" in notes[0]


def test_scale_mean_and_std_come_in_this_order() -> None:
    """(pixel * scale - mean) / std, per channel."""
    found = apply(picture(), changed(scale=0.5, mean=(1, 2, 3), std=(2, 4, 8)))
    np.testing.assert_allclose(found, (picture() * 0.5 - [1, 2, 3]) / [2, 4, 8])
    np.testing.assert_allclose(apply(picture(), changed(mean=(5,), std=(2,))), (picture().astype(float) - 5) / 2)


def test_channels_are_turned_before_mean_and_std() -> None:
    """Which are in the order of `channels`."""
    found = apply(picture(), changed(channels="BGR", mean=(7, 0, 0)))
    np.testing.assert_array_equal(found[:, :, 0], 0)
    np.testing.assert_array_equal(found[:, :, 2], picture()[:, :, 0])


def test_grey_has_one_channel_in_either_layout() -> None:
    """The usual weights of the three colours."""
    white = np.full((2, 4, 3), 255, np.uint8)
    assert apply(white, changed(channels="GRAY")).shape == (2, 4, 1)
    np.testing.assert_array_equal(
        apply(white, changed(channels="GRAY", layout="NCHW")), np.full((1, 2, 4), 255, np.float32)
    )


def test_channels_first_is_a_transposition() -> None:
    """And lies in memory as it is fed."""
    found = apply(picture(), changed(layout="NCHW"))
    np.testing.assert_array_equal(found, picture().transpose(2, 0, 1))
    assert found.flags.c_contiguous


@pytest.mark.parametrize(("dtype", "mean", "low", "high"), [("uint8", (0.0,), 0, 255), ("int8", (128.0,), -128, 127)])
def test_whole_number_types_are_rounded_and_clipped(dtype: str, mean: tuple[float, ...], low: int, high: int) -> None:
    """Never wrapped around."""
    image = np.array([[[0, 128, 255]]], np.uint8)
    found = apply(image, changed(dtype=dtype, mean=mean))
    assert found.dtype == dtype
    assert (found.min(), found.max()) == (low, high)
    assert apply(image, changed(dtype=dtype, scale=10.0))[0, 0].tolist() == [0, high, high]
    assert apply(image, changed(dtype=dtype, scale=0.0117))[0, 0].tolist() == [0, 1, 3]


def test_half_floats_are_made() -> None:
    """For models with such inputs."""
    assert apply(picture(), changed(dtype="float16")).dtype == np.float16


@pytest.mark.parametrize(
    ("steps", "size"),
    [
        ({"resize": (3, 5)}, (5, 3)),
        ({"resize": 4}, (4, 8)),
        ({"resize": 4, "crop": (4, 4)}, (4, 4)),
        ({"crop": (2, 1)}, (1, 2)),
        ({"crop": (6, 6)}, (6, 6)),
        ({"resize": (6, 6), "letterbox": True}, (6, 6)),
        ({"resize": (6, 6), "letterbox": True, "crop": (3, 2)}, (2, 3)),
    ],
)
def test_sizes_come_out_as_asked(steps: dict[str, Any], size: tuple[int, int]) -> None:
    """Width before height in the settings, rows before columns in the tensor."""
    assert apply(picture(), changed(**steps)).shape == (*size, 3)


def test_a_crop_is_the_centre() -> None:
    """Of 4 x 2, the middle 2 x 2."""
    np.testing.assert_array_equal(apply(picture(), changed(crop=(2, 2))), picture()[:, 1:3])


def test_a_letterbox_keeps_the_proportions() -> None:
    """And fills the rest with the given grey."""
    found = apply(picture(), changed(resize=(4, 4), letterbox=True, pad=114, resample="nearest"))
    np.testing.assert_array_equal(found[1:3], picture())
    assert set(found[[0, 3]].ravel()) == {114}
    grey = apply(picture(), changed(resize=(4, 4), letterbox=True, pad=114, channels="GRAY"))
    assert set(grey[[0, 3]].ravel()) == {114}


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest"])
def test_every_resampling_keeps_a_flat_image_flat(resample: str) -> None:
    """No border darkens."""
    flat = np.full((9, 7, 3), 90, np.uint8)
    assert set(apply(flat, changed(resize=(5, 11), resample=resample)).ravel()) == {90}


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.none() | st.integers(1, 30) | st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.none() | st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from(["RGB", "BGR", "GRAY"]),
    st.sampled_from(["NCHW", "NHWC"]),
)
def test_any_image_becomes_a_tensor_of_the_asked_form(
    width: int,
    height: int,
    resize: int | tuple[int, int] | None,
    crop: tuple[int, int] | None,
    channels: str,
    layout: str,
) -> None:
    """Also lines and points."""
    found = apply(
        np.zeros((height, width, 3), np.uint8),
        changed(resize=resize, crop=crop, channels=channels, layout=layout, std=(2,)),
    )
    depth = found.shape[0] if layout == "NCHW" else found.shape[-1]
    assert depth == (1 if channels == "GRAY" else 3)
    size = found.shape[1:] if layout == "NCHW" else found.shape[:2]
    if crop is not None:
        assert size == crop[::-1]
    elif isinstance(resize, tuple):
        assert size == resize[::-1]
    elif resize is not None:
        assert min(size) == resize


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "size"),
    [
        ((1, 3, 96, 64), "NCHW", "RGB", (64, 96)),
        (("N", 96, 64, 3), "NHWC", "RGB", (64, 96)),
        ((1, 1, 28, 28), "NCHW", "GRAY", (28, 28)),
        ((28, 28, 1), "NHWC", "GRAY", (28, 28)),
    ],
)
def test_the_signature_says_what_the_settings_do_not(
    shape: tuple[Any, ...], layout: str, channels: str, size: tuple[int, int]
) -> None:
    """And what was assumed is said."""
    found, notes = completed(None, spec(*shape))
    assert found == Preprocess(layout=layout, channels=channels, resize=size, dtype="float32", scale=1 / 255)
    (note,) = notes
    assert f"{size[0]} x {size[1]}, {channels}, {layout}, float32" in note
    assert "pixels scaled to 0..1 (an assumption" in note


def test_a_model_of_pixels_gets_pixels() -> None:
    """No scale for whole-number inputs."""
    found, notes = completed(None, spec(1, 8, 8, 3, dtype="uint8"))
    assert (found.dtype, found.scale) == ("uint8", None)
    assert "scaled" not in notes[0]


def test_settings_stand_over_the_signature() -> None:
    """What was set whole is taken without a word."""
    full = Preprocess(layout="NHWC", channels="BGR", resize=(8, 8), dtype="float32")
    assert completed(full, spec(1, 8, 8, 3)) == (full, ())
    found, notes = completed(Preprocess(resize=(8, 8)), spec(1, 3, 8, 8))
    assert (found.scale, found.layout) == (None, "NCHW")
    assert "8 x 8, RGB, NCHW" in notes[0]
    assert "0..1" not in notes[0]


def test_a_shorter_side_is_cropped_to_the_input() -> None:
    """The usual resize 256, crop 224."""
    found, _ = completed(Preprocess(resize=256), spec(1, 3, 224, 224))
    assert (found.resize, found.crop) == (256, (224, 224))


def test_an_input_of_any_size_takes_images_as_they_are_when_settings_say_so() -> None:
    """An empty [preprocess] is such a word."""
    found, notes = completed(Preprocess(), spec(1, 3, "h", "w"))
    assert (found.resize, found.crop) == (None, None)
    assert "their own size" in notes[0]
    found, _ = completed(Preprocess(crop=(5, 5)), spec(1, 3, "h", "w"))
    assert found.resize is None
    found, _ = completed(Preprocess(resize=5), spec(1, 3, "h", "w"))
    assert (found.resize, found.crop) == (5, None)


@pytest.mark.parametrize(
    ("given", "of", "sentence", "hint"),
    [
        (None, spec(1, 490), "input 'x' takes (1, 490), which is not the shape of images", ".npy"),
        (
            None,
            TensorSpec(name="x", dtype="float32", shape=None),
            "input 'x' takes any shape, which is not the shape of images",
            ".npy",
        ),
        (None, spec(1, 3, 224, 3), "does not say which axis holds the channels", 'layout = "NCHW"'),
        (None, spec(1, None, "h", "w"), "does not say which axis holds the channels", "layout"),
        (Preprocess(layout="NCHW"), spec(1, None, 8, 8), "does not say how many channels it has", 'channels = "RGB"'),
        (Preprocess(layout="NCHW"), spec(1, 12, 8, 8), "images have 1 or 3 channels, not 12", ".npy"),
        (None, spec(1, 3, "h", "w"), "does not say how large it wants images", "resize = [224, 224]"),
        (None, spec(1, 3, 8, 8, dtype="int64"), "takes int64, and images become", ".npy"),
        (
            Preprocess(mean=(1, 2, 3)),
            spec(1, 1, 8, 8),
            "preprocess: mean has 3 values, allowed: 1: input 'x' takes images of kind GRAY",
            "[preprocess]",
        ),
    ],
)
def test_what_cannot_be_known_is_asked_for(given: Preprocess | None, of: TensorSpec, sentence: str, hint: str) -> None:
    """With the key that would say it."""
    with pytest.raises(SamplesError) as caught:
        completed(given, of)
    assert sentence in caught.value.message
    assert caught.value.code == "samples-mismatch"
    assert hint in str(caught.value.hint)


def test_half_inputs_are_fed_halves() -> None:
    """And that is what the note says."""
    found, notes = completed(None, spec(1, 3, 8, 8, dtype="float16"))
    assert (found.dtype, found.scale) == ("float16", 1 / 255)
    assert "float16" in notes[0]


def test_double_inputs_are_fed_from_floats() -> None:
    """The check of dtypes widens them."""
    assert completed(None, spec(1, 3, 8, 8, dtype="float64"))[0].dtype == "float32"


def test_imagenets_numbers_without_a_scale_are_doubted() -> None:
    """The commonest mistake of all; the doubt is said, the numbers are used."""
    _, notes = completed(Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), spec(1, 3, 8, 8))
    assert "mean or std are below 1" in notes[-1]
    _, notes = completed(Preprocess(mean=(0.485,), scale=1 / 255), spec(1, 3, 8, 8))
    assert not any("below 1" in note for note in notes)
    _, notes = completed(Preprocess(mean=(123.0,), std=(58.0,)), spec(1, 3, 8, 8))
    assert not any("below 1" in note for note in notes)
