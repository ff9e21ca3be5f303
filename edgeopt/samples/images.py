"""Image files as arrays: bounded before they are decoded, and the right way up."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from edgeopt.errors import SamplesError
from edgeopt.samples.record import Array

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 100_000_000


def read_image(path: Path, label: str) -> Array:
    """The image as uint8 of shape (height, width, 3) in RGB; what its EXIF says of the orientation is done.

    Transparent pixels keep the colour that is stored under them, as most training code has it.

    Raises:
        SamplesError: samples-unreadable: not one of the formats, damaged, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Our own bound is exact and comes before the pixels; Pillow's is a warning, and its others concern damaged metadata.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise SamplesError(
                        f"{label}: {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read"
                    )
                return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError) as error:
        reason = str(error).split("\n")[0].replace(str(path), label) or type(error).__name__
        raise SamplesError(
            f"{label}: cannot be read as an image: {reason}", hint="Remove or replace the file."
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    """8 bits per channel. Pillow would clip 16-bit greys to white."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.uint32) >> 8
        return Image.fromarray(np.minimum(grey, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
