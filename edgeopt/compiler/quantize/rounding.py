"""Round weights so that the layer's *answer* changes least, not each weight. Child side.

Minimises tr(D C D^T) over the codes, D = scale * codes - weight, C the covariance of what the layer sees plus the variance of its input's own rounding (scale^2 / 12 on the
diagonal, uniform noise). Coordinate descent from the nearest codes: column by column, each output channel takes the code that is best given all others.
The objective is AdaRound's (Nagel et al., Up or Down?, ICML 2020, eq. 13) without its relaxation; means are left to the bias.
"""

from __future__ import annotations

import numpy as np

from edgeopt.compiler.quantize.emit import Scale, nearest_codes
from edgeopt.compiler.quantize.encoding import U8S8
from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.layers import Layer

SWEEPS = 3
RIDGE = 1e-3
"""Of the mean diagonal: keeps columns that the samples hardly move from drifting."""


def rounded_codes(
    layer: Layer, scales: Array, covariance: Array, source: Scale, limit: int = U8S8.weight_limit
) -> Array:
    """Codes of the shape of the weights, int8, from -limit to limit."""
    nearest = nearest_codes(layer, scales, limit)
    groups = covariance.shape[0]
    outputs = layer.channels // groups
    noise = float(source.scale[0]) ** 2 / 12.0
    weight = layer.weight.reshape(groups, outputs, -1).astype(np.float32)
    codes = nearest.reshape(groups, outputs, -1).astype(np.float32)
    steps = scales.reshape(groups, outputs)
    moments = covariance.astype(np.float32).copy()
    diagonal = np.arange(moments.shape[1])
    moments[:, diagonal, diagonal] += noise + RIDGE * moments[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    return np.asarray(_descend(weight, codes, steps, moments, limit).reshape(layer.weight.shape), np.int8)


def _descend(weight: Array, codes: Array, steps: Array, moments: Array, limit: int) -> Array:
    """All groups and outputs side by side. weight, codes [G, O, K], steps [G, O], moments [G, K, K]."""
    error = codes * steps[..., None] - weight
    pull = np.matmul(error, moments)  # gradient / 2
    for _ in range(SWEEPS):
        changed = False
        for k in range(weight.shape[2]):
            curvature = moments[:, k, k][:, None]
            wanted = codes[:, :, k] - pull[:, :, k] / (np.maximum(curvature, 1e-30) * steps)
            better = np.clip(np.rint(wanted), -limit, limit)
            move = (better - codes[:, :, k]) * steps
            if not move.any():
                continue
            changed = True
            codes[:, :, k] = better
            pull += move[:, :, None] * moments[:, k][:, None, :]
        if not changed:
            break
    return codes
