"""A TFLite model as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.convert.tflite.network import Array, Quant, Shape
from edgeopt.compiler.refuse import Refused


@dataclass(frozen=True, kw_only=True)
class LiteTensor:
    """`data` of constants, as stored; `dtype` by numpy's name; `quant` where it stands for real numbers."""

    name: str
    shape: Shape
    dtype: str
    quant: Quant | None
    data: Array | None

    @property
    def real(self) -> Array | None:
        """A constant in the numbers that it stands for."""
        if self.data is None or self.quant is None:
            return self.data
        return self.quant.real(self.data)

    @property
    def real_dtype(self) -> str:
        """The dtype of those numbers."""
        return self.dtype if self.quant is None else "float32"


@dataclass(frozen=True, kw_only=True)
class LiteOperator:
    """`kind` and the fields of `options` by the schema's names. An input of -1 is left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]

    def refuse(self, why: str) -> Refused:
        """The refusal of this operator."""
        return Refused("step-failed", f"the TFLite operator {self.kind} cannot be read as ONNX: {why}")


@dataclass(frozen=True, kw_only=True)
class LiteModel:
    """The only graph of a file; tensors by their numbers."""

    tensors: tuple[LiteTensor, ...]
    operators: tuple[LiteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def is_quantised(self) -> bool:
        """Whether constants of two axes or more are codes."""
        return any(t.data is not None and t.quant is not None and len(t.shape) > 1 for t in self.tensors)

    @property
    def parameters(self) -> dict[str, int]:
        """Number of constants by dtype, those that are shapes and axes left out."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            if tensor.data is not None and (tensor.quant is not None or np.dtype(tensor.dtype).kind == "f"):
                counts[tensor.dtype] = counts.get(tensor.dtype, 0) + int(tensor.data.size)
        return dict(sorted(counts.items(), key=lambda item: -item[1]))
