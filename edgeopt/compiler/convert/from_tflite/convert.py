"""A .tflite file as a float ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeopt.compiler.convert.from_tflite import pointwise, shaping, windows
from edgeopt.compiler.convert.from_tflite.dilation import with_dilations
from edgeopt.compiler.convert.from_tflite.importing import Import, Importing
from edgeopt.compiler.convert.from_tflite.lite import LiteModel
from edgeopt.compiler.convert.from_tflite.reading import open_interpreter, read_tflite

TABLE: Mapping[str, Import] = MappingProxyType({**pointwise.TABLE, **windows.TABLE, **shaping.TABLE})
"""Every operator that is covered."""


def to_onnx(model: LiteModel) -> Any:
    """The float network of a file, behind the file's own border: names, order, shapes and dtypes of inputs and outputs stay.

    Raises:
        Refused: step-failed with the operator that cannot be read.
    """
    return Importing(with_dilations(model)).model_proto(TABLE)


def imported(source: Path, target: Path) -> Path:
    """Write the float network of a .tflite file as an .onnx file; its path.

    Raises:
        Refused: as `open_interpreter`, `read_tflite` and `to_onnx`.
    """
    target.write_bytes(to_onnx(read_tflite(source, open_interpreter(source))).SerializeToString())
    return target
