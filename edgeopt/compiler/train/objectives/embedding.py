"""A vector for each sample, from features of any form."""

from __future__ import annotations

from typing import Any

from torch.nn import functional

PICTURE_AXES = 4


def embedding(features: Any, *, channels_last: bool = False) -> Any:
    """[samples, channels] of unit length: the mean over places. Features of four axes have their channels second, of three last."""
    x = features.float()
    if x.dim() == PICTURE_AXES and not channels_last:
        x = x.flatten(2).mean(2)
    elif x.dim() > 2:
        x = x.flatten(1, -2).mean(1)
    return functional.normalize(x, dim=-1)
