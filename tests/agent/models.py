"""Tiny models and samples, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper


def graph(*nodes: onnx.NodeProto, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)) -> bytes:
    """Return a float model of these nodes; every tensor is [1, 4]."""
    ins = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in inputs]
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in outputs]
    model = helper.make_model(
        helper.make_graph(list(nodes), "tiny", ins, outs), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


DOUBLE = graph(helper.make_node("Add", ["x", "x"], ["y"]))
SQUARE = graph(helper.make_node("Mul", ["x", "x"], ["y"]))
NAN = graph(helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["y"]))
TWO_INPUTS = graph(
    helper.make_node("Add", ["b", "a"], ["sum"]),
    helper.make_node("Sub", ["b", "a"], ["diff"]),
    inputs=("b", "a"),
    outputs=("sum", "diff"),
)


def text_model() -> bytes:
    """Return a model that gives back its text."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in "xy")
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "text", [x], [y])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def sequence_model() -> bytes:
    """Return a model whose output is a list of tensors."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("SequenceConstruct", ["x", "x"], ["y"])], "sequence", [x], [y])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def samples(count: int = 2, tensors: int = 1, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays `s<i>.<j>`."""
    random = np.random.default_rng(seed)
    return {f"s{i}.{j}": random.normal(size=(1, 4)).astype(np.float32) for i in range(count) for j in range(tensors)}


def npz(arrays: dict[str, np.ndarray[Any, Any]], folder: Path, name: str = "x.npz") -> bytes:
    """Return the bytes of an .npz file."""
    np.savez(folder / name, **arrays)  # type: ignore[arg-type,unused-ignore]
    return (folder / name).read_bytes()
