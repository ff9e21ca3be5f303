"""The last step of recipes for other runtimes: their forms, by the step's name. What each needs is imported when it is done. Child side."""

from __future__ import annotations

from typing import Any


def to_openvino(model: Any, _options: dict[str, Any], bench: Any) -> Any:
    """OpenVINO's own form: see `openvino`."""
    from edgeopt.compiler.convert.openvino import to_openvino

    return to_openvino(model, bench.scratch, bench.samples)


def to_tflite(model: Any, options: dict[str, Any], bench: Any) -> Any:
    """TFLite's form: see `tflite`."""
    from edgeopt.compiler.convert.tflite.convert import to_tflite

    return to_tflite(model, options, bench)


def to_ncnn(model: Any, options: dict[str, Any], bench: Any) -> Any:
    """The form of ncnn: see `ncnn`."""
    from edgeopt.compiler.convert.ncnn import to_ncnn

    return to_ncnn(model, options, bench)


def to_tensorrt(model: Any, _options: dict[str, Any], bench: Any) -> Any:
    """What TensorRT's engine is built of: see `tensorrt`."""
    from edgeopt.compiler.convert.tensorrt import to_tensorrt

    return to_tensorrt(model, bench)


CONVERSIONS = {
    "to_openvino": to_openvino,
    "to_tflite": to_tflite,
    "to_ncnn": to_ncnn,
    "to_tensorrt": to_tensorrt,
}
