"""Build one file with another tool: `python peer_build.py ORDER.json`, in whichever environment has the tool. Needs onnx, onnxruntime, numpy, and nncf for its own.

The order is {"tool", "model", "samples", "input", "out", "answer"}; the answer is {"build_s", "peak_memory_bytes", "versions"}. Import times are not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

OPSET = 17
STATIC = {
    "ort-s8s8": {"activation": "QInt8", "per_channel": True},
    "ort-u8s8": {"activation": "QUInt8", "per_channel": True},
    "ort-u8s8-tensor": {"activation": "QUInt8", "per_channel": False},
}


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    with np.load(order["samples"]) as file:
        samples = [{order["input"]: file[name]} for name in file.files]
    model = modern(Path(order["model"]))
    tool, out = order["tool"], Path(order["out"])
    _load(tool)
    begun = time.perf_counter()
    if tool in STATIC:
        ort_static(model, samples, out, **STATIC[tool])
    elif tool == "ort-dynamic":
        ort_dynamic(model, out)
    else:
        nncf_static(model, samples, out, full=tool == "nncf-bias")
    done = {"build_s": time.perf_counter() - begun, "peak_memory_bytes": peak_memory_bytes(), "versions": versions()}
    Path(order["answer"]).write_text(json.dumps(done))


def _load(tool: str) -> None:
    """Import what the tool needs before its time counts."""
    if tool.startswith("nncf"):
        import nncf  # noqa: F401
    else:
        import onnxruntime.quantization.shape_inference  # noqa: F401


def modern(path: Path) -> onnx.ModelProto:
    """Opset 17 where it is older, and weights off the graph's inputs: no tool takes these files as they are."""
    loaded = onnx.load(path)
    if max(o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx")) < OPSET:
        loaded.ir_version = max(loaded.ir_version, 8)
        loaded = onnx.version_converter.convert_version(loaded, OPSET)
    names = {tensor.name for tensor in loaded.graph.initializer}
    kept = [value for value in loaded.graph.input if value.name not in names]
    del loaded.graph.input[:]
    loaded.graph.input.extend(kept)
    return loaded


def ort_static(
    model: onnx.ModelProto, samples: list[dict[str, Any]], out: Path, *, activation: str, per_channel: bool
) -> None:
    """ONNX Runtime's quantiser, min-max calibration, behind its own pre-processing."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as scratch:
        quantize_static(
            str(_prepared(model, Path(scratch))),
            str(out),
            Reader(),
            per_channel=per_channel,
            activation_type=getattr(QuantType, activation),
            weight_type=QuantType.QInt8,
        )


def ort_dynamic(model: onnx.ModelProto, out: Path) -> None:
    """ONNX Runtime's dynamic recipe as it comes; unsigned weights, because it has no convolution kernel for signed ones."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        quantize_dynamic(str(_prepared(model, Path(scratch))), str(out), weight_type=QuantType.QUInt8)


def _prepared(model: onnx.ModelProto, scratch: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, prepared = scratch / "float.onnx", scratch / "prepared.onnx"
    onnx.save(model, source)
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    return prepared


def nncf_static(model: onnx.ModelProto, samples: list[dict[str, Any]], out: Path, *, full: bool) -> None:
    """NNCF's quantize as it comes (fast bias correction), or with its full bias correction."""
    import nncf

    made = nncf.quantize(
        model, nncf.Dataset(samples, lambda row: row), subset_size=len(samples), fast_bias_correction=not full
    )
    onnx.save(made, out)


def versions() -> dict[str, str]:
    """Of what took part."""
    found = {}
    for name in ("onnx", "onnxruntime", "nncf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> int | None:
    """VmHWM of this process, samples in memory included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    main()
