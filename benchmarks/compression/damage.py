"""Variants of graded damage: weights rounded to fewer and fewer bits (onnx and numpy alone), and ONNX Runtime's own quantisers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from peer_build import modern

Array = np.ndarray[Any, np.dtype[Any]]

BITS = (8, 7, 6, 5, 4, 3)
WEIGHTED = ("Conv", "Gemm", "MatMul")


def variants(model: Path, calibration: list[dict[str, Array]], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name, file) of the original first, then of every damaged copy; what a quantiser refuses is said and left out."""
    clean = folder / "original.onnx"
    onnx.save(modern(model), clean)
    yield "original", clean
    for bits in BITS:
        for per_channel in (True, False):
            name = f"w{bits}-{'channel' if per_channel else 'tensor'}"
            out = folder / f"{name}.onnx"
            onnx.save(round_weights(onnx.load(clean), bits, per_channel=per_channel), out)
            yield name, out
    yield from _runtime_quantised(clean, calibration, folder)


def round_weights(model: onnx.ModelProto, bits: int, *, per_channel: bool) -> onnx.ModelProto:
    """Round the weights of convolutions and dense layers to symmetric integers of `bits` bits and back, scale = max |w| / (2^(bits-1) - 1)."""
    weights = {node.input[1]: node for node in model.graph.node if node.op_type in WEIGHTED}
    for tensor in model.graph.initializer:
        node = weights.get(tensor.name)
        if node is None:
            continue
        values = numpy_helper.to_array(tensor)
        axis = _output_axis(node, values.ndim)
        others = tuple(i for i in range(values.ndim) if i != axis) if per_channel else None
        largest = np.max(np.abs(values), axis=others, keepdims=True)
        step = np.maximum(largest, 1e-12) / (2 ** (bits - 1) - 1)
        rounded = (np.rint(values / step) * step).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return model


def _output_axis(node: onnx.NodeProto, rank: int) -> int:
    """Conv weights are [out, in, ...]; dense ones [in, out] unless transposed."""
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else rank - 1


def _runtime_quantised(model: Path, calibration: list[dict[str, Array]], folder: Path) -> Iterator[tuple[str, Path]]:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, feeds: list[dict[str, Array]]) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        for per_channel in (True, False):
            for signed in (False, True):
                name = f"ort-static-{'s8s8' if signed else 'u8s8'}-{'channel' if per_channel else 'tensor'}"
                out = folder / f"{name}.onnx"
                quantize_static(
                    str(prepared),
                    str(out),
                    Reader(calibration),
                    per_channel=per_channel,
                    activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
                yield name, out
        out = folder / "ort-dynamic.onnx"
        quantize_dynamic(str(prepared), str(out), weight_type=QuantType.QUInt8)
        yield "ort-dynamic", out
