"""QDQ files as other tools write them, made here from a float network and the ranges of its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeopt.compiler.quantize.observe import run_taps
from edgeopt.compiler.running import Feeds

PRODUCTS = ("Conv", "Gemm")


class Writer:
    """Copies a network and puts quantisers where it is told."""

    def __init__(self, model: Any, feeds: Feeds) -> None:
        self.model = type(model)()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.ranges = ranges(model, feeds)
        self.nodes: list[Any] = []
        self.made: set[str] = set()

    def write(
        self, product: Callable[[Writer, Any], None], *, after: Callable[[Writer, Any], None] | None = None
    ) -> Any:
        """`product` changes the inputs of every Conv and Gemm; `after` adds what stands behind a node."""
        for node in list(self.graph.node):
            copy = type(node)()
            copy.CopyFrom(node)
            if node.op_type in PRODUCTS:
                product(self, copy)
            self.nodes.append(copy)
            if after is not None:
                after(self, copy)
        nodes = list(self.nodes)
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(nodes)
        return onnx.shape_inference.infer_shapes(self.model)

    def activation(self, name: str, dtype: Any, *, per_channel: bool = False, symmetric: bool = False) -> str:
        """Quantise and dequantise a tensor over its range, asymmetrically; returns what to read instead."""
        low, high = (np.minimum(r, 0) if i == 0 else np.maximum(r, 0) for i, r in enumerate(self.ranges[name]))
        if not per_channel:
            low, high = low.min(), high.max()
        limits = np.iinfo(dtype)
        if symmetric:
            scale = np.maximum(np.maximum(-low, high), 1e-6) / limits.max
            zero = np.zeros_like(scale)
        else:
            scale = np.maximum(high - low, 1e-6) / (limits.max - limits.min)
            zero = np.clip(np.rint(limits.min - low / scale), limits.min, limits.max)
        return self.pair(name, np.float32(scale), np.asarray(zero).astype(dtype))

    def pair(self, name: str, scale: Any, zero: Any, axis: int = 1) -> str:
        """QuantizeLinear and DequantizeLinear behind a tensor or a constant."""
        if f"{name}_dq" not in self.made:
            inputs = [self.constant(f"{name}_s", scale), self.constant(f"{name}_z", zero)]
            attributes = {"axis": axis} if np.ndim(scale) else {}
            self.nodes.append(helper.make_node("QuantizeLinear", [name, *inputs], [f"{name}_q"], **attributes))
            self.nodes.append(
                helper.make_node("DequantizeLinear", [f"{name}_q", *inputs], [f"{name}_dq"], **attributes)
            )
            self.made.add(f"{name}_dq")
        return f"{name}_dq"

    def weight(self, name: str, dtype: Any, *, asymmetric: bool = False, float_codes: bool = False) -> str:
        """Weights [O, ...] per channel as codes and DequantizeLinear, or (`float_codes`) as floats behind a pair."""
        value = self.constants[name]
        rows = value.reshape(len(value), -1)
        limits = np.iinfo(dtype)
        if asymmetric:
            low, high = np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
            scale = ((high - low) / (limits.max - limits.min)).astype(np.float32)
            zero = np.rint(limits.min - low / scale).astype(dtype)
        else:
            scale = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
            zero = np.zeros(len(rows), dtype)
        if float_codes:
            return self.pair(name, scale, zero, axis=0)
        codes = np.rint(rows / scale[:, None]) + zero[:, None].astype(np.float32)
        codes = np.clip(codes, limits.min, limits.max).astype(dtype).reshape(value.shape)
        inputs = [self.constant(f"{name}_{what}", array) for what, array in (("c", codes), ("s", scale), ("z", zero))]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], axis=0))
        return f"{name}_dq"

    def constant(self, name: str, array: Any) -> str:
        """A new initialiser."""
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def ranges(model: Any, feeds: Feeds) -> dict[str, tuple[Any, Any]]:
    """(smallest, largest) value of each channel of every float tensor between nodes."""
    names = sorted({name for node in model.graph.node for name in node.output})
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}

    def visit(_: int, tensors: dict[str, Any]) -> None:
        for name, value in tensors.items():
            rows = value.swapaxes(0, 1).reshape(value.shape[1], -1) if value.ndim > 1 else value.reshape(1, -1)
            low[name] = np.minimum(low.get(name, np.inf), rows.min(axis=1))
            high[name] = np.maximum(high.get(name, -np.inf), rows.max(axis=1))

    run_taps(model, names, feeds, visit)
    source = model.graph.input[0].name
    for feed in feeds:
        visit(0, {source: feed[source]})
    return {name: (low[name], high[name]) for name in low}


def nncf_like(model: Any, feeds: Feeds) -> Any:
    """Signed asymmetric activations in front of products only, a scale for each channel before depthwise ones, unsigned weights with a zero point, float biases."""

    def product(writer: Writer, node: Any) -> None:
        depthwise = any(a.name == "group" and a.i > 1 for a in node.attribute)
        node.input[0] = writer.activation(node.input[0], np.int8, per_channel=depthwise)
        node.input[1] = writer.weight(node.input[1], np.uint8, asymmetric=True)

    return Writer(model, feeds).write(product)


def aimet_like(model: Any, feeds: Feeds) -> Any:
    """Unsigned asymmetric activations in front of and behind everything, activations' inputs too; float weights behind a pair; float biases."""

    def product(writer: Writer, node: Any) -> None:
        node.input[1] = writer.weight(node.input[1], np.int8, float_codes=True)

    def after(writer: Writer, node: Any) -> None:
        if node.output[0] not in {value.name for value in writer.graph.output}:
            _read_instead(writer, node.output[0], writer.activation(node.output[0], np.uint8))

    writer = Writer(model, feeds)
    _read_instead(writer, "x", writer.activation("x", np.uint8))
    return writer.write(product, after=after)


def _read_instead(writer: Writer, old: str, new: str) -> None:
    """Every node that is not copied yet reads `new` for `old`."""
    for node in writer.graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new
