"""How an image becomes a tensor, as data."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Pixels = Annotated[int, msgspec.Meta(ge=1, le=16384)]
Size = Annotated[tuple[Pixels, ...], msgspec.Meta(min_length=2, max_length=2)]
"""`(width, height)`. Not `tuple[int, int]`: in a union with a bounded int, msgspec 0.22 reads that tuple's length from the wrong place."""
PerChannel = Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=3)]


class Preprocess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps in this order: resize, crop, `(pixel * scale - mean) / std`, channels, layout, dtype. What is None follows from the model's signature.

    `resize` is `[width, height]` or the length of the shorter side; `letterbox` keeps the proportions and fills the rest of `[width, height]`
    with `pad` (0..255). `crop` is `[width, height]` around the centre. Pixels are 0..255; `mean` and `std` apply after `scale`, so without
    `scale` they are in units of 0..255. They have one value, or one per channel in the order of `channels`.

    Raises:
        ValueError: the settings contradict each other.
    """

    resize: Pixels | Size | None = None
    crop: Size | None = None
    resample: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    letterbox: bool = False
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    layout: Literal["NCHW", "NHWC"] | None = None
    channels: Literal["RGB", "BGR", "GRAY"] | None = None
    scale: Annotated[float, msgspec.Meta(gt=0)] | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    dtype: Literal["float32", "float16", "uint8", "int8"] | None = None

    def __post_init__(self) -> None:
        """Check what concerns more than one key."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in self._widths():
                raise ValueError(f"{name} has {len(values)} values, allowed: {' or '.join(map(str, self._widths()))}")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ValueError("std has a value that is not above 0")
        if self.letterbox and not isinstance(self.resize, tuple):
            raise ValueError("letterbox needs resize = [width, height]")

    def _widths(self) -> tuple[int, ...]:
        return (1,) if self.channels == "GRAY" else (1, 3)
