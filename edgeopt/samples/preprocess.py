"""From an image to a tensor. `complete` fills what the settings leave open from the model's signature; `apply` is pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from edgeopt.domain.model import TensorSpec
from edgeopt.domain.preprocess import Preprocess
from edgeopt.errors import SamplesError
from edgeopt.samples.record import Array
from edgeopt.samples.shapes import Axis, words

_RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_CHANNELS = {1: "GRAY", 3: "RGB"}


def complete(
    settings: Preprocess | None, spec: TensorSpec, shape: Sequence[Axis] | None
) -> tuple[Preprocess, tuple[str, ...]]:
    """Fill layout, channels, size and dtype from what the input takes; what was assumed comes back as sentences.

    Without any settings the pixels of a float input are scaled to 0..1.

    Raises:
        SamplesError: samples-mismatch: the signature does not say enough; the message says which key would.
    """
    given = Preprocess() if settings is None else settings
    if shape is None or len(shape) not in (3, 4):
        message = f"input '{spec.name}' takes {words(shape)}, which is not the shape of images"
        raise SamplesError(message, hint="Save the samples as .npy or .npz files instead.", code="samples-mismatch")
    notes: list[str] = []
    layout = given.layout or _layout(spec, shape)
    depth, height, width = shape[-3:] if layout == "NCHW" else (shape[-1], shape[-3], shape[-2])
    filled: dict[str, Any] = {"layout": layout, "channels": given.channels or _channels(spec, shape, depth)}
    filled |= _size(given, spec, shape, (width, height), stated=settings is not None)
    coded = spec.scale is not None
    filled["dtype"] = given.dtype or ("float32" if spec.dtype == "float64" or coded else spec.dtype)
    if filled["dtype"] not in ("float32", "uint8", "int8", "float16"):
        message = f"input '{spec.name}' takes {spec.dtype}, and images become float32, float16, uint8 or int8"
        raise SamplesError(message, hint="Save the samples as .npy or .npz files instead.", code="samples-mismatch")
    if settings is None and filled["dtype"].startswith("float"):
        filled |= _of_codes(spec) if coded else {"scale": 1 / 255}
    result = _replaced(given, filled, spec)
    if settings is None or any(getattr(settings, key) != value for key, value in filled.items()):
        notes.append("images: " + _assumed(settings, result, coded=coded))
    if _looks_unscaled(given):
        notes.append(
            "preprocess: mean or std are below 1 while pixels are 0..255; if the model was trained on 0..1, set scale = 0.00392156862745098"
        )
    return result, tuple(notes)


def _of_codes(spec: TensorSpec) -> dict[str, Any]:
    """What makes the darkest pixel the first code of a quantised input, and the brightest the last, as converters quantise pictures."""
    first = -128 if spec.dtype == "int8" else 0
    step = float(spec.scale or 1)
    offset = ((spec.zero_point or 0) - first) * step
    return {"scale": step} | ({"mean": (offset,)} if offset else {})


def _replaced(given: Preprocess, filled: dict[str, Any], spec: TensorSpec) -> Preprocess:
    try:
        return msgspec.structs.replace(given, **filled)
    except ValueError as error:
        message = f"preprocess: {error}: input '{spec.name}' takes images of kind {filled['channels']}"
        raise SamplesError(message, hint="Correct [preprocess] in edgeopt.toml.", code="samples-mismatch") from error


def apply(image: Array, settings: Preprocess) -> Array:
    """The tensor of one image, without a batch axis.

    Args:
        image: uint8, (height, width, 3), RGB.
        settings: complete.

    Returns:
        (channels, height, width) or (height, width, channels), of the settings' dtype. Whole-number types are rounded and clipped.
    """
    picture = Image.fromarray(image)
    if settings.channels == "GRAY":
        picture = picture.convert("L")
    picture = _crop(_resize(picture, settings), settings)
    pixels = np.asarray(picture, dtype=np.float32).reshape(picture.height, picture.width, -1)
    if settings.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    pixels = pixels * np.float32(settings.scale or 1)
    pixels = pixels - np.asarray(settings.mean or (0,), np.float32)
    pixels = pixels / np.asarray(settings.std or (1,), np.float32)
    if settings.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    dtype: np.dtype[Any] = np.dtype(settings.dtype)
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        pixels = np.clip(np.rint(pixels), limits.min, limits.max)
    return np.ascontiguousarray(pixels.astype(dtype))


def _resize(picture: Image.Image, settings: Preprocess) -> Image.Image:
    """To a size, to a shorter side (rounded down, as torchvision does), or into a size with borders."""
    wanted, method = settings.resize, _RESAMPLE[settings.resample]
    if wanted is None:
        return picture
    width, height = picture.size
    if isinstance(wanted, int):
        short = min(width, height)
        return picture.resize((width * wanted // short, height * wanted // short), method)
    if not settings.letterbox:
        return picture.resize((wanted[0], wanted[1]), method)
    scale = min(wanted[0] / width, wanted[1] / height)
    inner = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), method)
    return _centred(inner, (wanted[0], wanted[1]), settings.pad)


def _crop(picture: Image.Image, settings: Preprocess) -> Image.Image:
    """The centre; an image that is smaller gets borders."""
    return picture if settings.crop is None else _centred(picture, (settings.crop[0], settings.crop[1]), settings.pad)


def _centred(picture: Image.Image, size: tuple[int, int], pad: int) -> Image.Image:
    """`picture` in the middle of a canvas; what does not fit is cut."""
    colour = pad if picture.mode == "L" else (pad, pad, pad)
    canvas = Image.new(picture.mode, size, colour)
    canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return canvas


def _layout(spec: TensorSpec, shape: Sequence[Axis]) -> str:
    """Where the 1 or 3 channels are."""
    first, last = shape[-3] in _CHANNELS, shape[-1] in _CHANNELS
    if first != last:
        return "NCHW" if first else "NHWC"
    raise _unsaid(spec, shape, "which axis holds the channels", 'layout = "NCHW"` or `"NHWC"')


def _channels(spec: TensorSpec, shape: Sequence[Axis], depth: Axis) -> str:
    """GRAY or RGB by their number."""
    if isinstance(depth, int) and depth in _CHANNELS:
        return _CHANNELS[depth]
    if isinstance(depth, int):
        message = f"input '{spec.name}' takes {words(shape)}: images have 1 or 3 channels, not {depth}"
        raise SamplesError(message, hint="Save the samples as .npy or .npz files instead.", code="samples-mismatch")
    raise _unsaid(spec, shape, "how many channels it has", 'channels = "RGB"')


def _size(
    given: Preprocess, spec: TensorSpec, shape: Sequence[Axis], size: tuple[Axis, Axis], *, stated: bool
) -> dict[str, Any]:
    """Resize or crop to what the input takes, where the settings do not. With settings, an input of any size takes images as they are."""
    known = isinstance(size[0], int) and isinstance(size[1], int)
    if given.crop is not None or (given.resize is not None and not (known and isinstance(given.resize, int))):
        return {}
    if known:
        return {"resize": size} if given.resize is None else {"crop": size}
    if stated:
        return {}
    raise _unsaid(spec, shape, "how large it wants images", "resize = [224, 224]")


def _unsaid(spec: TensorSpec, shape: Sequence[Axis], what: str, key: str) -> SamplesError:
    message = f"input '{spec.name}' takes {words(shape)}, which does not say {what}"
    return SamplesError(message, hint=f"Set `{key}` under [preprocess] in edgeopt.toml.", code="samples-mismatch")


def _assumed(settings: Preprocess | None, result: Preprocess, *, coded: bool) -> str:
    """What follows from the model, in words."""
    size = result.crop or result.resize
    shown = f"{size[0]} x {size[1]}" if isinstance(size, tuple) else "their own size"
    text = f"{shown}, {result.channels}, {result.layout}, {result.dtype}, as the model's input says"
    if settings is not None or result.scale is None:
        return text
    how = "as the codes of the quantised input" if coded else "scaled to 0..1"
    return f"{text}, with pixels {how} (an assumption: see [preprocess])"


def _looks_unscaled(settings: Preprocess) -> bool:
    """Mean and std of ImageNet in units of 0..1, without the scale."""
    values = (*(settings.mean or ()), *(settings.std or ()))
    return settings.scale is None and bool(values) and all(0 < abs(value) < 1 for value in values)
