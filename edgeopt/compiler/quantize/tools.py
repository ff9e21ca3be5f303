"""Other quantisers, each with the few ways of using it that are worth a try: a float model and samples in, a QDQ model out. Child side.

They are imported when they are used. Who is not installed is not planned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.running import Feeds

Make = Callable[[Any, Feeds, Path], Any]
"""(float model, which it may change; samples; folder for files) -> QDQ model."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way of using a tool. `thorough`: left out under the instant budget."""

    name: str
    make: Make
    thorough: bool = False


def _ort(model: Any, feeds: Feeds, scratch: Path) -> Any:
    """ONNX Runtime's quantiser: the smallest and largest value of each tensor, read off inside the graph, so memory stays small."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize

    _flatten_gemm_biases(model)
    source, target = scratch / "float.onnx", scratch / "static.onnx"
    # The calibrator looks up shapes and types of the tensors in between.
    source.write_bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())
    quantize(
        source,
        target,
        _Reader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return onnx.load(target)


def _nncf(model: Any, feeds: Feeds, *, fast: bool) -> Any:
    import nncf

    rows = nncf.Dataset(feeds, lambda row: row)
    return nncf.quantize(model, rows, subset_size=feeds.count, fast_bias_correction=fast)


def _aimet(model: Any, feeds: Feeds, *, equalise: bool) -> Any:
    from aimet_onnx import QuantizationSimModel
    from aimet_onnx.cross_layer_equalization import equalize_model

    if equalise:
        equalize_model(model)
    simulation = QuantizationSimModel(model, param_type="int8", activation_type="int8")
    simulation.compute_encodings(feeds)
    return simulation.to_onnx_qdq()


WAYS: dict[str, tuple[Way, ...]] = {
    "ort": (Way(name="min-max ranges", make=_ort),),
    "nncf": (
        Way(name="fast bias correction", make=lambda model, feeds, _: _nncf(model, feeds, fast=True)),
        Way(name="full bias correction", make=lambda model, feeds, _: _nncf(model, feeds, fast=False), thorough=True),
    ),
    "aimet": (
        Way(name="min-max ranges", make=lambda model, feeds, _: _aimet(model, feeds, equalise=False)),
        Way(
            name="cross-layer equalisation",
            make=lambda model, feeds, _: _aimet(model, feeds, equalise=True),
            thorough=True,
        ),
    ),
}
"""By the tool's name in recipes."""


class _Reader:
    """Calibration samples as onnxruntime.quantization asks for them."""

    def __init__(self, samples: Feeds) -> None:
        self.left = iter(samples)

    def get_next(self) -> Any:
        """The next sample, None after the last."""
        return next(self.left, None)


def _flatten_gemm_biases(model: Any) -> None:
    """Give Gemm biases of shape [1, N] the equal shape [N]: onnxruntime's quantiser stumbles over the first (ORT#24815, #29747)."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        bias = constants.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is None or len(bias.dims) != 2 or bias.dims[0] != 1:
            continue
        name = f"{bias.name}_flat"
        if name not in constants:
            flat = type(bias).FromString(bias.SerializeToString())
            flat.name = name
            del flat.dims[0]
            constants[name] = flat
            model.graph.initializer.append(flat)
        node.input[2] = name
