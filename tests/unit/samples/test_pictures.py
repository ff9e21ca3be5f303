"""Pictures drawn from a seed: repeatable, of any size, with the statistics of natural ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgeopt.samples.pictures import draw_picture, power_law_noise
from edgeopt.samples.record import Array


def drawn(seed: int, width: int = 96, height: int = 64) -> Array:
    return draw_picture(np.random.default_rng(seed), width, height)


def spectrum_slope(field: Array) -> float:
    """Exponent of the power over the frequency, without the lowest and the highest."""
    window = np.outer(np.hanning(field.shape[0]), np.hanning(field.shape[1]))
    power = np.abs(np.fft.fft2((field - field.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(field.shape[0])[:, None], np.fft.fftfreq(field.shape[1])[None, :])
    edges = np.geomspace(0.03, 0.4, 10)
    bands = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    middles = np.sqrt(edges[1:] * edges[:-1])
    return float(np.polyfit(np.log(middles), np.log([power[band].mean() for band in bands]), 1)[0])


def test_a_seed_is_a_picture() -> None:
    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))


@pytest.mark.parametrize("size", [(96, 64), (1, 1), (3, 40), (40, 3), (500, 20)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    picture = drawn(0, *size)
    assert (picture.dtype, picture.shape) == (np.uint8, (size[1], size[0], 3))


def test_power_falls_with_frequency_as_in_photographs() -> None:
    """About f^-2 (Field 1987: between -1.5 and -3 for single pictures)."""
    slopes = [spectrum_slope(drawn(seed, 128, 128).mean(axis=2)) for seed in range(12)]
    assert -3.2 < float(np.mean(slopes)) < -1.5
    assert -2.4 < spectrum_slope(power_law_noise(np.random.default_rng(0), 128, 128)) < -1.6


def test_pictures_are_dark_and_light_and_coloured() -> None:
    """Together they visit the whole range, and each of them a good part of it."""
    pictures = np.stack([drawn(seed) for seed in range(40)]).astype(float)
    levels = pictures.mean(axis=(1, 2, 3))
    assert levels.max() - levels.min() > 60
    assert 90 < levels.mean() < 165
    assert np.median(pictures.std(axis=(1, 2, 3))) > 30
    assert np.ptp(pictures, axis=3).mean() > 10
