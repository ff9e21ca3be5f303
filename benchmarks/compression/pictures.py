"""Pictures of the shared test data, prepared the way each network was trained to see them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]

CAFFE_MEAN = np.float32([103.939, 116.779, 123.68])
"""Of the blue, green and red values of ImageNet, 0 to 255."""
NANODET_MEAN, NANODET_STD = np.float32([103.53, 116.28, 123.675]), np.float32([57.375, 57.12, 58.395])
PAD = 114.0
"""Grey around a letterboxed picture. Ge et al., YOLOX, arXiv:2107.08430."""
TILE = 0.6
"""Sides of a tile over those of its photograph."""


def listed(folder: Path, count: int) -> list[Image.Image]:
    """`count` pictures of a folder with a labels.csv, spread over all of it. RGB."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    chosen = [names[i * len(names) // count] for i in range(min(count, len(names)))]
    return [_open(folder, name) for name in chosen]


def _open(folder: Path, name: str) -> Image.Image:
    direct = folder / name
    return Image.open(direct if direct.is_file() else next(folder.rglob(name))).convert("RGB")


def views(path: Path) -> Iterator[Image.Image]:
    """A photograph, its four corners of TILE of its sides, and all of them mirrored: ten pictures."""
    whole = Image.open(path).convert("RGB")
    width, height = whole.size
    w, h = round(width * TILE), round(height * TILE)
    corners = [(x, y) for y in (0, height - h) for x in (0, width - w)]
    for view in (whole, *(whole.crop((x, y, x + w, y + h)) for x, y in corners)):
        yield view
        yield view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def squeezenet(image: Image.Image) -> Array:
    """Centre 224 of a picture whose short side is 256, BGR minus the mean, NCHW."""
    bgr = np.asarray(_centre(_short_side(image, 256), 224), np.float32)[:, :, ::-1] - CAFFE_MEAN
    return _nchw(bgr)


def mobilenet_128(image: Image.Image) -> Array:
    """Centre 128 of a picture whose short side is 128 / 0.875, (x - 128) / 128, RGB, NCHW."""
    rgb = np.asarray(_centre(_short_side(image, round(128 / 0.875)), 128), np.float32)
    return _nchw((rgb - 128.0) / 128.0)


def cifar(image: Image.Image) -> Array:
    """0 to 255, NHWC."""
    return np.ascontiguousarray(np.asarray(image, np.float32)[None])


def vww_96(image: Image.Image) -> Array:
    """Centre square at 96 x 96, 0 to 1, NHWC."""
    rgb = np.asarray(_centre(_short_side(image, 96), 96), np.float32)
    return np.ascontiguousarray(rgb[None] / np.float32(255.0))


def ultraface(image: Image.Image) -> Array:
    """320 x 240, (x - 127) / 128, RGB, NCHW."""
    return _nchw((np.asarray(image.resize((320, 240), Image.Resampling.BILINEAR), np.float32) - 127.0) / 128.0)


def yunet(image: Image.Image) -> Array:
    """320 x 320, 0 to 255, BGR, NCHW."""
    return _nchw(np.asarray(image.resize((320, 320), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1])


def nanodet(image: Image.Image) -> Array:
    """416 x 416, BGR, normalised, NCHW."""
    bgr = np.asarray(image.resize((416, 416), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    return _nchw((bgr - NANODET_MEAN) / NANODET_STD)


def yolox_512(image: Image.Image) -> Array:
    """Letterboxed into 512 x 512, 0 to 255, BGR, NCHW."""
    scale = 512 / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = np.full((512, 512, 3), PAD, np.float32)
    padded[: size[1], : size[0]] = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    return _nchw(padded)


def _short_side(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    if scale == 1.0:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)


def _centre(image: Image.Image, size: int) -> Image.Image:
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _nchw(picture: Array) -> Array:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
