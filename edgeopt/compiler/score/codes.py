"""Answers in codes as the real numbers that they stand for, before anything is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeopt.compiler.score.form import Array, Outputs
from edgeopt.domain.model import TensorSpec


def real_answers(outputs: Outputs, specs: Sequence[TensorSpec]) -> Outputs:
    """Samples x outputs, those with a scale as float32; everything else as it is."""
    if all(spec.scale is None for spec in specs):
        return outputs
    return [[_real(array, spec) for array, spec in zip(row, specs, strict=False)] for row in outputs]


def _real(array: Array, spec: TensorSpec) -> Array:
    if spec.scale is None or array.dtype.kind == "f":
        return array
    real = (array.astype(np.float32) - np.float32(spec.zero_point or 0)) * np.float32(spec.scale)
    return np.asarray(real, np.float32)
