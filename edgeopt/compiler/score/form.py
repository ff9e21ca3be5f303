"""The form of answers: samples x outputs, and whether two sets of them can be compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Row = Sequence[Array]
"""The outputs of one sample, in the order of the signature."""
Outputs = Sequence[Row]
"""Samples x outputs."""


class Mismatch(Exception):
    """The answers have another form than the reference's, so they cannot be compared."""


def check_form(reference: Outputs, outputs: Outputs, *, open_rows: bool = False) -> None:
    """Refuse answers of another form.

    Args:
        reference: the teacher's.
        outputs: the variant's.
        open_rows: the number of rows may differ: a detector answers as many boxes as it finds.

    Raises:
        Mismatch: another number of samples or outputs, other shapes, integers for floats, or no samples at all.
    """
    if not reference:
        raise Mismatch("there are no samples to compare")
    if len(reference) != len(outputs):
        raise Mismatch(f"there are answers to {len(outputs)} samples, not {len(reference)}")
    for index, (expected, got) in enumerate(zip(reference, outputs, strict=True)):
        if not expected or len(expected) != len(got):
            raise Mismatch(f"sample {index} has {len(got)} outputs, not {len(expected)}")
        for j, (r, y) in enumerate(zip(expected, got, strict=True)):
            _check_pair(r, y, f"output {j} of sample {index}", open_rows=open_rows)


def _check_pair(r: Array, y: Array, what: str, *, open_rows: bool) -> None:
    alike = r.ndim == y.ndim if open_rows else r.shape == y.shape
    if not alike:
        raise Mismatch(f"{what} has the shape {list(y.shape)}, not {list(r.shape)}")
    if (r.dtype.kind == "f") != (y.dtype.kind == "f"):
        raise Mismatch(f"{what} is {y.dtype}, not {r.dtype}")
