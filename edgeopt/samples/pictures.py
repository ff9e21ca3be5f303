"""Pictures of nothing, drawn from a seed, for calibrating where the user has none: shapes of all sizes that cover each other, shaded and textured.

Natural pictures have two statistics that hold for every subject: a power spectrum of about 1 / f^2, and occlusion. The dead leaves model has both: shapes whose
number falls with the cube of their radius, each in front of those before it (Lee, Mumford and Huang, "Occlusion Models for Natural Images", IJCV 2001). Networks
can be calibrated (Lazarevich, Kozlov and Malinin, "Post-training deep neural network pruning via layer-wise calibration", ICCV workshops 2021, with fractals) and
even trained (Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021) on pictures that have little more. No constant here was fitted to a network.
"""

from __future__ import annotations

import msgspec
import numpy as np

from edgeopt.samples.record import Array

SMALLEST, PLAINEST, LARGEST = 1 / 64, 1 / 12, 1 / 2
"""Radii, as shares of the shorter side. The smallest shape of one picture lies between the first two: some are busy, some plain."""

COVERED = 3.0
"""How often the shapes together would cover the picture."""

MOST_LEAVES = 1_500
COLOURS = 6
"""Colours of a palette: the things in one picture are often alike."""


class Leaf(msgspec.Struct, frozen=True):
    """One shape. Lengths in pixels; `turn` in radians; `colour` of three channels in 0..1; `slope` is the change of brightness from centre to edge."""

    x: float
    y: float
    radius: float
    aspect: float
    turn: float
    angular: bool
    colour: Array
    slope: tuple[float, float]
    texture: float


def draw_picture(generator: np.random.Generator, width: int, height: int) -> Array:
    """Draw one picture: uint8 of shape (height, width, 3), RGB. The same state of the generator gives the same picture."""
    noise = power_law_noise(generator, width, height)
    palette = _palette(generator)
    canvas = np.clip(palette[0] + 0.2 * noise[:, :, None], 0.0, 1.0).astype(np.float32)
    for leaf in _leaves(generator, width, height, palette):
        _paint(canvas, noise, leaf)
    return _exposed(generator, canvas)


def power_law_noise(generator: np.random.Generator, width: int, height: int) -> Array:
    """Return noise of (height, width), float32, mean 0, deviation 1, whose amplitude falls as 1 / f."""
    white = np.fft.rfft2(generator.standard_normal((height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(white / frequency, s=(height, width))
    return np.asarray(field / max(float(field.std()), 1e-12), np.float32)


def _palette(generator: np.random.Generator) -> Array:
    """[COLOURS, 3]. Brightness takes any value; colours differ from grey less, as in photographs."""
    brightness = generator.random((COLOURS, 1))
    tint = generator.normal(0.0, 0.12, (COLOURS, 3))
    return np.asarray(np.clip(brightness + tint - tint.mean(axis=1, keepdims=True), 0.0, 1.0))


def _leaves(generator: np.random.Generator, width: int, height: int, palette: Array) -> list[Leaf]:
    """From back to front. Radii by inverse transform of a density that falls as r^-3 between the smallest and the largest."""
    side = min(width, height)
    low, high = side * np.exp(generator.uniform(np.log(SMALLEST), np.log(PLAINEST))), side * LARGEST
    mean_area = 2.0 * np.pi * np.log(high / low) / (low**-2 - high**-2)
    count = int(min(MOST_LEAVES, np.ceil(COVERED * width * height / mean_area)))
    radii = (low**-2 - generator.random(count) * (low**-2 - high**-2)) ** -0.5
    numbers = generator.random((count, 7))
    colours = palette[generator.integers(0, COLOURS, count)] + generator.normal(0.0, 0.05, (count, 3))
    return [
        Leaf(
            x=float(n[0] * width),
            y=float(n[1] * height),
            radius=float(radius),
            aspect=float(0.4 + 0.6 * n[2]),
            turn=float(np.pi * n[3]),
            angular=bool(n[4] < 0.5),
            colour=colour.astype(np.float32),
            slope=(float(0.6 * n[5] - 0.3), float(0.6 * n[6] - 0.3)),
            texture=float(0.12 * n[2] * n[6]),
        )
        for n, radius, colour in zip(numbers, radii, colours, strict=True)
    ]


def _paint(canvas: Array, noise: Array, leaf: Leaf) -> None:
    """Cover what lies behind a leaf."""
    height, width = noise.shape
    reach = leaf.radius * (1.42 if leaf.angular else 1.0) + 1
    top, bottom = max(0, int(leaf.y - reach)), min(height, int(leaf.y + reach) + 2)
    left, right = max(0, int(leaf.x - reach)), min(width, int(leaf.x + reach) + 2)
    dy = (np.arange(top, bottom, dtype=np.float32) - np.float32(leaf.y))[:, None] / np.float32(leaf.radius)
    dx = (np.arange(left, right, dtype=np.float32) - np.float32(leaf.x))[None, :] / np.float32(leaf.radius)
    cos, sin = np.float32(np.cos(leaf.turn)), np.float32(np.sin(leaf.turn))
    along, across = cos * dx + sin * dy, (cos * dy - sin * dx) / np.float32(leaf.aspect)
    distance = np.maximum(np.abs(along), np.abs(across)) if leaf.angular else np.sqrt(along**2 + across**2)
    # One pixel of transition: what comes through a lens has no jagged edges.
    cover = np.clip((1 - distance) * np.float32(leaf.radius) + np.float32(0.5), 0, 1)[:, :, None]
    light = 1 + np.float32(leaf.slope[0]) * along + np.float32(leaf.slope[1]) * across
    grain = np.float32(leaf.texture) * noise[top:bottom, left:right]
    place = canvas[top:bottom, left:right]
    place += cover * (leaf.colour * light[:, :, None] + grain[:, :, None] - place)


def _exposed(generator: np.random.Generator, canvas: Array) -> Array:
    """To bytes, as a camera has it: lighter or darker, flatter or harder, with a little noise of the sensor."""
    contrast, offset = generator.uniform(0.6, 1.1), generator.normal(0.0, 0.08)
    grain = generator.normal(0.0, generator.uniform(0.0, 0.02), canvas.shape)
    light = 0.5 + contrast * (canvas - 0.5) + offset + grain
    return np.rint(255.0 * np.clip(light, 0.0, 1.0)).astype(np.uint8)
