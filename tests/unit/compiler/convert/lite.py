"""TFLite files in the tests: converted, run by LiteRT, looked into."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from edgeopt.compiler.convert.tflite.convert import to_tflite
from edgeopt.compiler.runtime import open_session

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

NO_SAMPLES = SimpleNamespace(samples=None)


def convert(model: onnx.ModelProto, samples: Any = None) -> bytes:
    """The file that the recipe's last step would write."""
    return to_tflite(model, {}, SimpleNamespace(samples=samples)).files["model.tflite"]


def run(data: bytes, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """LiteRT's answers, with its default delegate as on a board."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=2)
    interpreter.allocate_tensors()
    for each in interpreter.get_input_details():
        interpreter.set_tensor(each["index"], feed[each["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


def truth(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime's answers."""
    return list(open_session(model.SerializeToString()).run(None, feed))


def agree(model: onnx.ModelProto, feed: dict[str, np.ndarray], tolerance: float = 1e-5) -> Counter[str]:
    """Assert that the converted model answers as ONNX Runtime does, relative to the largest value; its operators."""
    data = convert(model)
    got, want = run(data, feed), truth(model, feed)
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        largest = max(float(np.abs(other.astype(np.float64)).max(initial=0.0)), 1.0)
        np.testing.assert_allclose(one.astype(np.float64), other.astype(np.float64), rtol=0, atol=tolerance * largest)
    return operators(data)


def parsed(data: bytes) -> Any:
    """The file by its schema."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


def operators(data: bytes) -> Counter[str]:
    """How often each operator is in a file."""
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = parsed(data)
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)


def noise(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
