"""The child's task `explain`: what the runtime really runs in int8, product by product, and why not the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.convert.from_tflite.reading import is_tflite
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.reading import read_checked
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import load_or_refuse


def explain_task(request: dict[str, Any], scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"path"}` -> `{"coverage": Coverage}`. Products inside of control flow are not looked at."""
    import onnx

    path = Path(request["path"])
    if is_tflite(path):
        raise Refused(
            "model-unsupported",
            "it is a TensorFlow Lite file, and what is told here is ONNX Runtime's; what LiteRT computes by itself and what by XNNPACK stands below the table of `edgeopt bench`",
        )
    model, _ = read_checked(path)
    load_or_refuse(path)
    onnx.load_external_data_for_model(model, str(path.parent))
    return {"coverage": msgspec.to_builtins(coverage(model, scratch))}
