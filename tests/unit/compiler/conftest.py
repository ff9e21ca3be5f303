"""What the compiler's tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edgeopt.compiler.model_info import inspect_model
from edgeopt.domain.model import ModelInfo
from tests import models


@pytest.fixture
def inspected(tmp_path: Path) -> Callable[[onnx.ModelProto], tuple[Path, ModelInfo]]:
    """Save a model and inspect it."""

    def save_and_inspect(model: onnx.ModelProto) -> tuple[Path, ModelInfo]:
        path = models.save(model, tmp_path / "model" / "net.onnx")
        return path, inspect_model(path)

    return save_and_inspect
