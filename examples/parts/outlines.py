"""The thirteen kinds of hardware part, as outlines with random proportions.

Every outline is a signed distance: negative inside the part, positive outside, about one unit per unit of length, so
that a renderer can antialias the edge and bevel it. A part lives in its own coordinates, y up, within a circle of radius
1.15 about the origin. Proportions are drawn anew for each picture, and on purpose the ranges of neighbouring kinds touch:
a narrow slit is all that tells a lock washer from a washer, and a corner or two all that tells a hex nut from a square one.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""One float32 value per pixel."""
Outline = Callable[[Field, Field, np.random.Generator], Field]


def disc(x: Field, y: Field, radius: float) -> Field:
    """Distance to a disc about the origin."""
    return np.sqrt(x * x + y * y) - np.float32(radius)


def box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    """Distance to an upright rectangle about the origin."""
    across, along = np.abs(x) - np.float32(half_width), np.abs(y) - np.float32(half_height)
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(along, 0) ** 2)
    return outside + np.minimum(np.maximum(across, along), 0)


def polygon(x: Field, y: Field, sides: int, inradius: float) -> Field:
    """Distance (a lower bound near the corners) to a regular polygon about the origin."""
    edges = [2 * math.pi * side / sides for side in range(sides)]
    planes = [x * np.float32(math.cos(edge)) + y * np.float32(math.sin(edge)) for edge in edges]
    return np.maximum.reduce(planes) - np.float32(inradius)


def threaded_shank(x: Field, y: Field, half_width: Field | float, pitch: float) -> Field:
    """Distance across an endless shank along y whose sides carry a thread."""
    depth = np.float32(0.035) * np.abs(np.float32(2) * np.mod(y / np.float32(pitch), np.float32(1)) - np.float32(1))
    return np.abs(x) - half_width + depth


def without(body: Field, hole: Field) -> Field:
    """The body with the hole cut out."""
    return np.maximum(body, -hole)


def washer(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A flat ring."""
    outer = rng.uniform(0.75, 0.95)
    return without(disc(x, y, outer), disc(x, y, outer * rng.uniform(0.38, 0.68)))


def lock_washer(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A ring with one narrow, slanting slit."""
    ring = washer(x, y, rng)
    slant = rng.uniform(-0.5, 0.5)
    slit = box(x + np.float32(slant) * (y - np.float32(0.6)), y - np.float32(0.6), rng.uniform(0.05, 0.12), 0.6)
    return without(ring, slit)


def circlip(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A thin, widely open ring with an eye at each end."""
    ring = without(disc(x, y, 0.86), disc(x, y, rng.uniform(0.6, 0.7)))
    half_gap = rng.uniform(0.3, 0.55)
    wedge = np.abs(x) * np.float32(math.cos(half_gap)) - y * np.float32(math.sin(half_gap))
    eye_x, eye_y = np.float32(0.8 * math.sin(half_gap)), np.float32(0.8 * math.cos(half_gap))
    eye = without(disc(np.abs(x) - eye_x, y - eye_y, 0.19), disc(np.abs(x) - eye_x, y - eye_y, 0.07))
    return np.minimum(without(ring, wedge), eye)


def hex_nut(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A six-sided block with a round hole."""
    inradius = rng.uniform(0.7, 0.85)
    return without(polygon(x, y, 6, inradius), disc(x, y, inradius * rng.uniform(0.45, 0.68)))


def square_nut(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A four-sided block with cut corners and a round hole."""
    inradius = rng.uniform(0.65, 0.75)
    corners = disc(x, y, inradius * rng.uniform(1.18, 1.35))
    return without(np.maximum(polygon(x, y, 4, inradius), corners), disc(x, y, inradius * rng.uniform(0.45, 0.68)))


def gear(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A wheel with 9 to 16 teeth and a bore."""
    teeth, depth = int(rng.integers(9, 17)), rng.uniform(0.06, 0.12)
    tooth = np.clip(np.cos(np.float32(teeth) * np.arctan2(y, x)) * np.float32(2.5), -1, 1)
    rim = disc(x, y, 0.8) - np.float32(depth) * tooth
    return without(rim, disc(x, y, rng.uniform(0.2, 0.5)))


def bearing(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """Two rings with balls between them."""
    outer = rng.uniform(0.82, 0.95)
    balls, middle, half_groove = int(rng.integers(7, 11)), outer * 0.7, outer * 0.13
    groove = np.abs(disc(x, y, middle)) - np.float32(half_groove)
    body = without(without(disc(x, y, outer), disc(x, y, outer * rng.uniform(0.38, 0.5))), groove)
    turns = [2 * math.pi * ball / balls for ball in range(balls)]
    row = [disc(x - np.float32(middle * math.cos(t)), y - np.float32(middle * math.sin(t)), 0.13) for t in turns]
    return np.minimum(body, np.minimum.reduce(row))


def wing_nut(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A bored hub with two lobes."""
    lean, reach = rng.uniform(0.3, 0.75), rng.uniform(0.5, 0.62)
    along = (np.abs(x) - np.float32(reach)) * np.float32(math.cos(lean)) + y * np.float32(math.sin(lean))
    across = y * np.float32(math.cos(lean)) - (np.abs(x) - np.float32(reach)) * np.float32(math.sin(lean))
    lobe = disc(along, across * np.float32(rng.uniform(1.5, 2.2)), 0.38)
    return without(np.minimum(disc(x, y, 0.36), lobe), disc(x, y, rng.uniform(0.14, 0.22)))


def bolt(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A machine bolt from the side: a block of a head, a straight shank, a blunt end."""
    half_width, head = rng.uniform(0.13, 0.22), rng.uniform(0.1, 0.18)
    shank = np.maximum(threaded_shank(x, y, np.float32(half_width), rng.uniform(0.08, 0.13)), box(x, y, 1, 0.9))
    cap = box(x, y - np.float32(0.9 - head), half_width * rng.uniform(1.6, 2.2), head)
    return np.minimum(shank, cap)


def screw(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A countersunk screw from the side: a tapering head, a shank that runs out in a point."""
    half_width, point = rng.uniform(0.13, 0.22), rng.uniform(0.3, 0.6)
    taper = np.float32(half_width) * np.clip((y + np.float32(0.95)) / np.float32(point), 0, 1)
    shank = np.maximum(threaded_shank(x, y, taper, rng.uniform(0.11, 0.18)), box(x, y, 1, 0.92))
    height = rng.uniform(0.2, 0.32)
    below_top = np.float32(0.9) - y
    flare = np.abs(x) - np.float32(half_width * 2.1) + below_top * np.float32(half_width * 1.1 / height)
    return np.minimum(shank, np.maximum(np.maximum(flare, -below_top), below_top - np.float32(height)))


def eye_bolt(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A ring on a shank."""
    radius, half_width = rng.uniform(0.34, 0.45), rng.uniform(0.1, 0.15)
    eye_y = y - np.float32(0.9 - radius)
    eye = without(disc(x, eye_y, radius), disc(x, eye_y, radius * rng.uniform(0.45, 0.65)))
    half_length = 0.97 - radius
    shank = np.maximum(
        threaded_shank(x, y, np.float32(half_width), rng.uniform(0.08, 0.13)),
        box(x, y + np.float32(1 - half_length), 1, half_length),
    )
    return np.minimum(eye, shank)


def corner_bracket(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """An L of sheet metal with a hole in each leg."""
    half_width, leg = rng.uniform(0.17, 0.24), rng.uniform(0.55, 0.72)
    shift = np.float32(0.5)
    upright = box(x + shift, y - np.float32(leg) + shift + np.float32(half_width), half_width, leg)
    foot = box(x - np.float32(leg) + shift + np.float32(half_width), y + shift, leg, half_width)
    far = np.float32(2 * leg - 2 * half_width)
    holes = np.minimum(
        disc(x + shift, y + shift - far, half_width * 0.45), disc(x + shift - far, y + shift, half_width * 0.45)
    )
    return without(np.minimum(upright, foot), holes)


def tee_bracket(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A T of sheet metal with a hole at each of its three ends."""
    half_width, leg = rng.uniform(0.17, 0.24), rng.uniform(0.62, 0.8)
    bar_y = y - np.float32(0.5)
    bar = box(x, bar_y, leg, half_width)
    stem = box(x, y + np.float32(leg - 0.5), half_width, leg)
    far = np.float32(leg - half_width)
    holes = np.minimum(
        disc(np.abs(x) - far, bar_y, half_width * 0.45), disc(x, bar_y + far + np.float32(leg), half_width * 0.45)
    )
    return without(np.minimum(bar, stem), holes)


OUTLINES: dict[str, Outline] = {
    "washer": washer,
    "lock_washer": lock_washer,
    "circlip": circlip,
    "hex_nut": hex_nut,
    "square_nut": square_nut,
    "gear": gear,
    "bearing": bearing,
    "wing_nut": wing_nut,
    "bolt": bolt,
    "screw": screw,
    "eye_bolt": eye_bolt,
    "corner_bracket": corner_bracket,
    "tee_bracket": tee_bracket,
}
"""Name of each class, in the order of the network's outputs."""

CLASS_NAMES = tuple(OUTLINES)
