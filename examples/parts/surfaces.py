"""Textures, light and lens: what a picture is made of apart from the outlines.

Everything here works on square float32 images of SIZE pixels a side, with elementwise numpy only: matrix products would
start a thread pool in each process that makes pictures, and those pools fight for the cores.
"""

import math

import numpy as np
from numpy.typing import NDArray

from outlines import Field

SIZE = 96
"""Width and height of every picture, in pixels."""

Picture = NDArray[np.float32]
"""SIZE x SIZE x 3, nominally 0 to 1."""


def enlarged(knots: Field) -> Field:
    """The knots (rows x columns) spread over SIZE rows, linear in between; columns stay."""
    place = np.linspace(0, len(knots) - 1, SIZE, dtype=np.float32)
    below = np.minimum(place.astype(np.intp), len(knots) - 2)
    above_share = (place - below.astype(np.float32))[:, None]
    return knots[below] * (1 - above_share) + knots[below + 1] * above_share


def blurred(image: Field, sigma_px: float) -> Field:
    """The image (SIZE x SIZE, with or without channels) under a Gaussian blur; borders are continued."""
    reach = max(1, round(2.5 * sigma_px))
    weights = [math.exp(-(step * step) / (2 * sigma_px * sigma_px)) for step in range(-reach, reach + 1)]
    for _ in range(2):
        padded = np.pad(image, [(reach, reach)] + [(0, 0)] * (image.ndim - 1), mode="edge")
        shifted = [padded[step : step + SIZE] * np.float32(weight) for step, weight in enumerate(weights)]
        image = (sum(shifted[1:], shifted[0]) / np.float32(sum(weights))).swapaxes(0, 1)
    return image


def noise(rng: np.random.Generator, rows: int, columns: int) -> Field:
    """Smooth random field from -1 to 1 with the given number (at least 2) of knots each way."""
    knots = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return enlarged(enlarged(knots).T).T


def colour(rng: np.random.Generator, saturation: float) -> NDArray[np.float32]:
    """A random colour: a grey level, pulled towards a random hue by at most the given saturation."""
    grey, hue = rng.uniform(0.15, 0.85), rng.uniform(-1, 1, 3)
    return np.clip(grey + rng.uniform(0, saturation) * 0.5 * hue, 0.03, 0.97).astype(np.float32)


def backdrop(rng: np.random.Generator) -> Picture:
    """A belt, a bench or a tray: a colour, blotches at two scales, grain, and sometimes ribs."""
    first, second = colour(rng, 0.6), colour(rng, 0.6)
    blotches = noise(rng, 4, 4) * 0.7 + noise(rng, *rng.integers(8, 40, 2)) * 0.3
    mix = np.float32(rng.uniform(0, 0.6)) * (blotches[..., None] * 0.5 + 0.5)
    picture = first * (1 - mix) + second * mix
    if rng.random() < 0.4:
        picture = picture * (1 + np.float32(rng.uniform(0.05, 0.3)) * ribs(rng)[..., None])
    return picture * (1 + np.float32(rng.uniform(0, 0.15)) * noise(rng, SIZE, SIZE)[..., None])


def ribs(rng: np.random.Generator) -> Field:
    """Parallel waves of a random direction and width, -1 to 1."""
    angle, period_px = rng.uniform(0, np.pi), rng.uniform(5, 24)
    pixel = np.arange(SIZE, dtype=np.float32)
    phase = pixel[:, None] * np.float32(np.sin(angle)) + pixel * np.float32(np.cos(angle))
    return np.sin(phase * np.float32(2 * np.pi / period_px))


def finish(rng: np.random.Generator, below: NDArray[np.float32]) -> Picture:
    """The surface of a part: bright metal, paint or rust, with brush marks.

    Of two colours it takes the one that stands out more from the colour below: parts that nobody could see teach nothing.
    """
    saturation = rng.choice([0.1, 0.1, 0.9])
    marks = noise(rng, *(int(knots) for knots in rng.permutation([3, 60])))
    stains = np.float32(rng.uniform(0, 0.3)) * noise(rng, 9, 9)
    paint = max((colour(rng, saturation) for _ in range(2)), key=lambda one: float(np.abs(one - below).sum()))
    return paint * (1 + np.float32(rng.uniform(0, 0.2)) * marks + stains)[..., None]


def bevel_light(height: Field, rng: np.random.Generator, direction: tuple[float, float]) -> Field:
    """Brightness that the slopes of a relief add (or take) under light from the given direction."""
    down, across = np.gradient(height)
    facing = down * np.float32(direction[0]) + across * np.float32(direction[1])
    return np.float32(rng.uniform(0.2, 1.2)) * facing


def lighting(rng: np.random.Generator) -> Picture:
    """Uneven, slightly coloured light: a slope over the picture, a lamp's spot, darker corners."""
    slope = np.float32(rng.uniform(0, 0.45)) * noise(rng, 2, 2)
    spot = np.float32(rng.uniform(0, 0.35)) * np.maximum(noise(rng, 4, 4), 0)
    row = np.linspace(-1, 1, SIZE, dtype=np.float32) ** 2
    corners = np.float32(rng.uniform(0, 0.2)) * (row[:, None] + row)
    tint = rng.uniform(0.88, 1.12, 3).astype(np.float32)
    return (np.float32(rng.uniform(0.65, 1.25)) * (1 + slope + spot - corners))[..., None] * tint


def photograph(light: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a cheap camera makes of the light: lens blur, noise that grows with brightness, a tone curve, 8 bits."""
    image = blurred(light, rng.uniform(0.35, 1.2))
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    strength = np.float32(rng.uniform(0.005, 0.06)) * np.sqrt(np.clip(image, 0.05, 1))
    exposed = np.clip(image + grain * strength, 0, 1) ** np.float32(rng.uniform(0.7, 1.4))
    return np.rint(exposed * 255).astype(np.uint8)
