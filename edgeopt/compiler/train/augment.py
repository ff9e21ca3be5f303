"""Other views of unlabelled samples. The teacher answers what the student sees, so whatever keeps the teacher on known ground is allowed.

Random numbers are drawn on the CPU whatever the device, so that every device sees the same views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

Tensors = dict[str, Any]
View = Callable[[Tensors, Any], Tensors]
"""(feeds of a group, generator) -> other feeds of the same shapes."""

CHANNELS = (1, 3)
LEAST_SIDE = 16
SHIFT = 0.125
"""Of a side: how far a crop moves, as the usual crop of a picture padded by 4 of 32."""


def view_of(feeds: Mapping[str, Any]) -> tuple[View | None, str]:
    """What may be done to inputs like these, and its name for people: pictures are flipped, shifted and mixed, other float arrays mixed, all else left alone."""
    if len(feeds) != 1 or not all(tensor.is_floating_point() and tensor.dim() > 1 for tensor in feeds.values()):
        return None, "none"
    (tensor,) = feeds.values()
    axes = spatial_axes(tensor)
    if axes is None:
        return _mixed_only, "mix-up"
    return _picture(axes), "flips, crops, mix-up and CutMix"


def spatial_axes(tensor: Any) -> tuple[int, int] | None:
    """(height, width) of a picture, None for anything else. Channels are first or last."""
    if tensor.dim() != 4:
        return None
    channel = next((axis for axis in (1, 3) if tensor.shape[axis] in CHANNELS), None)
    axes = (2, 3) if channel == 1 else (1, 2)
    large = all(tensor.shape[axis] >= LEAST_SIDE for axis in axes)
    return axes if channel is not None and large else None


def _picture(axes: tuple[int, int]) -> View:
    def apply(feeds: Tensors, random: Any) -> Tensors:
        return {name: mixed(shifted(flipped(x, axes, random), axes, random), axes, random) for name, x in feeds.items()}

    return apply


def _mixed_only(feeds: Tensors, random: Any) -> Tensors:
    return {name: mixed(x, None, random) for name, x in feeds.items()}


def flipped(x: Any, axes: tuple[int, int], random: Any) -> Any:
    """Each picture mirrored left to right with a chance of one half."""
    chosen = torch.rand(x.shape[0], generator=random) < 0.5
    return torch.where(_column(chosen, x), x.flip(axes[1]), x)


def shifted(x: Any, axes: tuple[int, int], random: Any) -> Any:
    """Each picture moved by up to an eighth of its sides; its edge goes on where nothing is known."""
    for axis in axes:
        length = x.shape[axis]
        most = max(1, int(length * SHIFT))
        moves = torch.randint(-most, most + 1, (x.shape[0],), generator=random)
        places = (torch.arange(length)[None, :] + moves[:, None]).clamp(0, length - 1).to(x.device)
        shape = [x.shape[0] if a == 0 else length if a == axis else 1 for a in range(x.dim())]
        x = torch.gather(x, axis, places.reshape(shape).expand_as(x))
    return x


def mixed(x: Any, axes: tuple[int, int] | None, random: Any) -> Any:
    """Half of a group as it is; the rest mixed with another of the group.

    Pictures in equal parts by mix-up (Zhang et al., *mixup: Beyond Empirical Risk Minimization*, ICLR 2018) and CutMix (Yun et al., ICCV 2019), the shares uniform; other arrays by mix-up.
    """
    count = x.shape[0]
    other = x[torch.randperm(count, generator=random).to(x.device)]
    kind, share = torch.rand(count, generator=random), torch.rand(count, generator=random)
    weight = torch.where(kind < 0.5, torch.ones(count), share)
    blended = torch.lerp(other, x, _column(weight, x).to(x.dtype))
    if axes is None:
        return blended
    box = _boxes(x, axes, share, random)
    cut = torch.where(box, other, x)
    return torch.where(_column(kind > 0.75, x), cut, blended)


def _boxes(x: Any, axes: tuple[int, int], share: Any, random: Any) -> Any:
    """A rectangle in each picture of `1 - share` of its area."""
    inside = torch.ones([x.shape[0], *[1] * (x.dim() - 1)], dtype=torch.bool)
    for axis in axes:
        length = x.shape[axis]
        half = (1 - share).sqrt() * length / 2
        centre = torch.rand(x.shape[0], generator=random) * length
        shape = [1] * x.dim()
        shape[axis] = length
        inside = inside & (
            (torch.arange(length).reshape(shape) - _column(centre, x, here=True)).abs() < _column(half, x, here=True)
        )
    return inside.to(x.device)


def _column(values: Any, x: Any, *, here: bool = False) -> Any:
    """One value for each of a group, shaped to act on `x`; `here` leaves it on the CPU."""
    column = values.reshape(-1, *[1] * (x.dim() - 1))
    return column if here else column.to(x.device)
