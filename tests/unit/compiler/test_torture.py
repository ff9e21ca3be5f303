"""Hostile and broken files: a clear refusal or a result, in bounded time and memory, and the caller lives."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeopt.compiler.confine import ConfinedFailure
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.outputs import host_outputs
from edgeopt.domain.model import ModelInfo
from edgeopt.errors import ModelError
from tests import models

CODES = {
    "model-unreadable",
    "model-invalid",
    "model-too-large",
    "model-unsupported",
    "model-unsafe",
    "model-unconfined",
}
MAX_SECONDS = 60.0

RUNS = {
    "light_densenet121.onnx", "light_inception_v2.onnx", "light_shufflenet.onnx", "light_vgg19.onnx", "loop.onnx", "scan.onnx",
    "residual_block.onnx", "gs_lstm.onnx", "attention.onnx", "sparse.matmul.onnx",
}  # fmt: skip
"""Of the torture files, some that are sound and must not be refused."""

REFUSED = {
    "super_resolution_ir1_no_opset.onnx": "model-invalid",
    "custom_op_node.onnx": "model-invalid",
    "empty.onnx": "model-unsupported",
    "constant_fold_bloater.onnx": "model-unsupported",
    "gs_ext_weights.onnx": "model-unconfined",
    "matmul.bf16.onnx": "model-unsupported",
    "posenet_custom_op_decoder.tflite": "model-unsupported",
    "test_strnorm_model_nostopwords_nochangecase.onnx": "model-unsupported",
    "bad_graph_with_parallel_invalid_nodes.onnx": "model-unsupported",
}
SEED_MODEL = models.classifier(classes=3).SerializeToString()


def outcome(path: Path) -> ModelInfo | ModelError:
    try:
        return inspect_model(path, timeout_s=MAX_SECONDS)
    except ModelError as error:
        return error


def test_every_torture_file_ends_in_a_description_or_a_sentence(shared_testdata):
    """All of them, two at a time."""
    paths = sorted(path for path in (shared_testdata / "torture").rglob("*") if path.is_file())
    assert len(paths) >= 60
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(paths, pool.map(outcome, paths), strict=True))
    for path, result in found.items():
        if isinstance(result, ModelError):
            assert result.code in CODES - {"model-unsafe"}, path
            assert str(path) in str(result)
            assert "Traceback" not in str(result)
            assert len(str(result)) < 700
    names = {path.name: result for path, result in found.items()}
    assert {name for name in RUNS if isinstance(names[name], ModelInfo)} == RUNS
    refused = {name: getattr(names[name], "code", None) for name in REFUSED}
    assert refused == REFUSED


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def check_bytes(folder: Path, data: bytes) -> None:
    path = folder / f"{os.getpid()}.onnx"
    path.write_bytes(data)
    begun = time.monotonic()
    result = outcome(path)
    assert time.monotonic() - begun < MAX_SECONDS + 10
    if isinstance(result, ModelError):
        assert result.code in CODES


HOSTILE = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(data=st.binary(min_size=1, max_size=200))
@HOSTILE
def test_random_bytes_are_refused_in_words(folder, data):
    check_bytes(folder, data)


@given(length=st.integers(1, len(SEED_MODEL) - 1))
@HOSTILE
def test_truncations_are_refused_in_words(folder, length):
    check_bytes(folder, SEED_MODEL[:length])


@given(flips=st.lists(st.tuples(st.integers(0, len(SEED_MODEL) - 1), st.integers(0, 7)), min_size=1, max_size=4))
@HOSTILE
def test_flipped_bits_are_a_description_or_a_sentence(folder, flips):
    data = bytearray(SEED_MODEL)
    for position, bit in flips:
        data[position] ^= 1 << bit
    check_bytes(folder, bytes(data))


def test_huge_constants_are_stopped_by_the_memory_limit(folder):
    """A file of 155 bytes that wants 64 GiB when it runs; the runtime also tries to fold it when it loads."""
    shape = numpy_helper.from_array(np.array([1 << 34], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    net = models.make(nodes, [models.value("x", [1])], [models.value("y", [1])], [shape])
    path = models.save(net, folder / "huge.onnx")
    outcome(path)
    with pytest.raises(ConfinedFailure) as caught:
        host_outputs(path, models.noise("x", 1, count=1), workdir=folder)
    assert caught.value.kind == "memory"
