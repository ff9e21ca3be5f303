"""Which other quantisers, converters and what trains are installed here. Looked up without importing them: they are large."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

PACKAGES = {
    "nncf": ("nncf", "nncf"),
    "aimet": ("aimet_onnx", "aimet-onnx"),
    "openvino": ("openvino", "openvino"),
    "tflite": ("ai_edge_litert", "ai-edge-litert"),
    "ncnn": ("pnnx", "pnnx"),
    "torch": ("torch", "torch"),
}
"""Name of our extra -> (module, distribution)."""


def installed_tools() -> dict[str, str]:
    """Versions by name of our extra; a module of no distribution has the version "unknown"."""
    return {name: _version(wheel) for name, (module, wheel) in PACKAGES.items() if find_spec(module) is not None}


def _version(wheel: str) -> str:
    try:
        return version(wheel)
    except PackageNotFoundError:
        return "unknown"
