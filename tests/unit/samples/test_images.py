"""Image files, the right way up and within bounds."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeopt.errors import SamplesError
from edgeopt.samples.images import read_image


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "jpg"])
def test_every_format_is_read_as_rgb(tmp_path: Path, ending: str) -> None:
    """Rows, columns, channels."""
    path = tmp_path / f"x.{ending}"
    Image.new("RGB", (4, 2), (200, 30, 90)).save(path)
    found = read_image(path, "x")
    assert (found.shape, found.dtype) == ((2, 4, 3), np.uint8)
    np.testing.assert_allclose(found[0, 0], [200, 30, 90], atol=6)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("L", 90, 90), ("1", 1, 255), ("RGBA", (90, 90, 90, 0), 90), ("P", 0, 0), ("CMYK", (0, 0, 0, 0), 255)],
)
def test_other_modes_become_rgb(tmp_path: Path, mode: str, colour: int | tuple[int, ...], expected: int) -> None:
    """Grey, palette, transparency, print."""
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.new(mode, (2, 2), colour).save(path)
    assert set(read_image(path, "x").ravel().tolist()) == {expected}


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    """Pillow alone would make everything above 255 white."""
    Image.fromarray(np.array([[0, 255, 256 * 90, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", "x")[0, :, 0].tolist() == [0, 0, 90, 255]


def test_the_camera_orientation_is_honoured(tmp_path: Path) -> None:
    """Orientation 6: the stored image lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg", "x").shape == (40, 20, 3)


def png_of(width: int, height: int) -> bytes:
    """A small file that claims to be a large image."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [(11000, 10000, "11000 x 10000 pixels; at most 100,000,000"), (60000, 60000, "cannot be read as an image")],
)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, width: int, height: int, sentence: str) -> None:
    """By its header alone."""
    (tmp_path / "x.png").write_bytes(png_of(width, height))
    with pytest.raises(SamplesError, match=sentence):
        read_image(tmp_path / "x.png", "x")


def test_damage_anywhere_is_a_sentence_or_a_picture(tmp_path: Path) -> None:
    """Every cut of every format; nothing but SamplesError leaves."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    for ending in ("png", "bmp", "webp", "jpg"):
        path = tmp_path / f"x.{ending}"
        noise.save(path)
        content = path.read_bytes()
        cuts = [content[:cut] for cut in range(0, len(content), 13)]
        turned = [content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :] for i in range(0, len(content), 5)]
        for version in cuts + turned:
            path.write_bytes(version)
            try:
                assert read_image(path, "x").ndim == 3
            except SamplesError as error:
                caught = error
        path.write_bytes(b"nothing like it")
        with pytest.raises(SamplesError, match="x: cannot be read as an image: cannot identify image file"):
            read_image(path, "x")
        assert caught.code == "samples-unreadable"


def test_other_formats_are_not_decoded(tmp_path: Path) -> None:
    """Whatever the ending says: fewer decoders, fewer holes."""
    Image.new("RGB", (2, 2)).save(tmp_path / "x.gif")
    (tmp_path / "x.gif").rename(tmp_path / "x.png")
    with pytest.raises(SamplesError, match="cannot identify"):
        read_image(tmp_path / "x.png", "x")
