"""One picture: a part on a bench, lit, cluttered and partly hidden, as a cheap camera sees it.

The difficulty is deliberate. Tilt, blur, noise, clutter and cover sometimes hide the one feature that tells two kinds
apart, so that no classifier reaches 100 %: only then does agreement with the original model say something.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outlines import CLASS_NAMES, OUTLINES, Field
from surfaces import SIZE, Picture, backdrop, bevel_light, blurred, finish, lighting, noise, photograph

_AXIS = ((np.arange(SIZE, dtype=np.float32) + np.float32(0.5)) / np.float32(SIZE / 2)) - np.float32(1)
_ACROSS, _DOWN = np.meshgrid(_AXIS, _AXIS)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a part lies: centre and size in half pictures, turn in radians, tilt as the factor it is flattened by."""

    centre: tuple[float, float]
    size: float
    turn: float
    tilt: float
    tilt_direction: float

    def part_coordinates(self) -> tuple[Field, Field]:
        """Each pixel's place in the coordinates of the part, x to the right and y up."""
        x, y = rotate(_ACROSS - np.float32(self.centre[0]), _DOWN - np.float32(self.centre[1]), self.tilt_direction)
        x, y = rotate(x / np.float32(self.tilt), y, self.turn - self.tilt_direction)
        return x / np.float32(self.size), -y / np.float32(self.size)


def rotate(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates after turning the axes by an angle in radians."""
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def subject_pose(rng: np.random.Generator) -> Pose:
    """The part in question: near the middle and of a fair size."""
    return random_pose(rng, distance=rng.uniform(0, 0.25), size=rng.uniform(0.5, 0.8))


def clutter_pose(rng: np.random.Generator) -> Pose:
    """Another part: smaller, and so far out that it is cut off or clearly not the subject."""
    return random_pose(rng, distance=rng.uniform(0.85, 1.25), size=rng.uniform(0.2, 0.4))


def random_pose(rng: np.random.Generator, distance: float, size: float) -> Pose:
    """A pose at the given distance from the middle, turned and tilted at random."""
    bearing, turn, tilt_direction = rng.uniform(0, 2 * math.pi, 3)
    centre = (distance * math.cos(bearing), distance * math.sin(bearing))
    return Pose(centre=centre, size=size, turn=turn, tilt=rng.uniform(0.65, 1), tilt_direction=tilt_direction)


def lay(picture: Picture, distance_px: Field, rng: np.random.Generator, light: tuple[float, float]) -> Picture:
    """The picture with one more thing on it: its shadow on what lies below, then its own lit surface."""
    cover = np.clip(np.float32(0.5) - distance_px, 0, 1)
    reach_px = rng.uniform(1, 5)
    shadow = np.roll(cover, (round(light[0] * reach_px), round(light[1] * reach_px)), axis=(0, 1))
    soft = blurred(shadow, rng.uniform(0.8, 2.5))
    shaded = picture * (1 - np.float32(rng.uniform(0.1, 0.6)) * soft)[..., None]
    height = np.clip(-distance_px / np.float32(rng.uniform(1.5, 4)), 0, 1)
    surface = finish(rng, picture.mean(axis=(0, 1))) * (1 - bevel_light(height, rng, light))[..., None]
    return shaded * (1 - cover[..., None]) + surface * cover[..., None]


def part_distance_px(name: str, pose: Pose, rng: np.random.Generator) -> Field:
    """Signed distance in pixels to a part of the given kind in the given pose."""
    return OUTLINES[name](*pose.part_coordinates(), rng) * np.float32(pose.size * SIZE / 2)


def cable_distance_px(rng: np.random.Generator) -> Field:
    """Signed distance in pixels to a cable, rod or tape that runs across the picture and hides a stripe of it."""
    x, y = rotate(_ACROSS, _DOWN, rng.uniform(0, 2 * math.pi))
    sway = np.float32(rng.uniform(0, 0.3)) * np.sin(x * np.float32(rng.uniform(1, 4)))
    thickness = np.float32(rng.uniform(0.03, 0.16))
    return (np.abs(y - np.float32(rng.uniform(-0.5, 0.5)) + sway) - thickness) * np.float32(SIZE / 2)


def spill_distance_px(rng: np.random.Generator) -> Field:
    """Signed distance in pixels to a ragged blot of grease or a scrap of cloth near the middle."""
    bearing, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0.25, 0.7)
    x, y = _ACROSS - np.float32(distance * math.cos(bearing)), _DOWN - np.float32(distance * math.sin(bearing))
    ragged = np.float32(0.15) * noise(rng, 9, 9)
    return (np.sqrt(x * x + y * y) - np.float32(rng.uniform(0.1, 0.32)) + ragged) * np.float32(SIZE / 2)


def render(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture (SIZE x SIZE x 3, RGB) whose subject is the class with the given number."""
    direction = rng.uniform(0, 2 * math.pi)
    light = (math.sin(direction), math.cos(direction))
    picture = backdrop(rng)
    for _ in range(rng.integers(0, 3)):
        name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
        picture = lay(picture, part_distance_px(name, clutter_pose(rng), rng), rng, light)
    picture = lay(picture, part_distance_px(CLASS_NAMES[label], subject_pose(rng), rng), rng, light)
    if rng.random() < 0.3:
        picture = lay(picture, cable_distance_px(rng), rng, light)
    if rng.random() < 0.25:
        picture = lay(picture, spill_distance_px(rng), rng, light)
    return photograph(picture * lighting(rng), rng)
