"""The source model and its signature."""

from __future__ import annotations

from typing import Literal

import msgspec

Task = Literal["classification", "detection", "segmentation", "embedding", "regression", "tokens", "other"]
"""What the outputs are, which decides how a variant's are compared with the original's (`domain.variant.Fidelity.metric`).

`tokens`: the first output holds scores of tokens or tags at every position. `other`: agreement is mean cosine similarity.
"""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output.

    `dtype` is numpy's name (`float32`, `int64`, `bool`, `str`) or the ONNX type in words where numpy has none
    (`bfloat16`, `sequence(float32)`). `shape` has an int for a fixed axis, a str for a named one, None for an unknown one;
    it is None when even the rank is unknown. `scale` and `zero_point`: of codes that stand for real numbers (TensorFlow Lite), real = scale * (code - zero_point).
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    scale: float | None = None
    zero_point: int | None = None


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that belongs to a model or a variant: `path` is relative to its folder, `digest` is sha256 in hex."""

    path: str
    digest: str
    bytes: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from a model file, in a confined child.

    `digest` covers every file (the graph and its external data). `files[0]` is the graph.
    `matrix_share` is the part of the float weights, look-up tables aside, that are constant matrices of MatMul and Gemm in the main graph; None when there are none, or in older records.
    `parameter_dtypes` counts weights by dtype; `op_counts` and `node_count` include the bodies of control flow.
    `macs` are the multiply-accumulates of one inference, `activations` the entries that its products (Conv, MatMul, Gemm, LSTM and the like) write, batch 1;
    `costs_reason` says why they are None.
    Of a TensorFlow Lite file `opset`, `ir_version`, `op_counts` and the costs are those of the float ONNX graph that it is read as, what quantises it left out;
    `not_rebuilt` says why there is none, so that the file can only be run as it is.
    """

    name: str
    format: Literal["onnx", "tflite"]
    digest: str
    bytes: int
    files: tuple[ModelFile, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    ir_version: int
    node_count: int
    parameter_count: int
    parameter_dtypes: dict[str, int] = {}
    op_counts: dict[str, int]
    domains: tuple[str, ...]
    has_control_flow: bool
    task: Task
    task_reason: str
    matrix_share: float | None = None
    macs: int | None = None
    activations: int | None = None
    costs_reason: str | None = None
    not_rebuilt: str | None = None
    warnings: tuple[str, ...] = ()


class StudentModel(msgspec.Struct, frozen=True, kw_only=True):
    """A smaller network that the user names, to learn from the model: its ONNX file here, which fits the model's signature, and the digest of its content."""

    path: str
    digest: str
    name: str
