"""OpenVINO."""

from __future__ import annotations

import sys

from edgeopt_agent.probes.cpu import usable_cores
from edgeopt_agent.runtimes.distribution import version_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PRECISIONS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_PLACES = ("Exception from ", "Check '")


def find(folders: list[str]) -> str | None:
    """Return the version that an import would find in these folders, without importing it."""
    return version_in(folders, "openvino", "openvino")


def version() -> str:
    """Return the version of the one that is imported."""
    return find(sys.path) or str(_import().__version__).partition("-")[0]


def providers() -> list[str]:
    """Return the devices that it can compute on: `CPU`, `GPU`, `NPU`."""
    return [str(name) for name in _import().Core().available_devices]


def _import() -> Any:
    import openvino

    return openvino


class Compiled:
    """An open model, with one request that is used again and again."""

    def __init__(self, compiled: Any, device: str) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self.input_names = [_name(port) for port in compiled.inputs]
        self.output_names = [_name(port) for port in compiled.outputs]
        self.takes_batches = all(_is_open(port) for port in (*compiled.inputs, *compiled.outputs))
        self.provider_used = device
        self._ports = list(compiled.outputs)

    def run(self, feed: dict[str, Any]) -> list[Any]:
        """Run the model once: {input name: array} -> the outputs in the model's order. Inputs are read where they are, outputs are copied out."""
        results = self._request.infer(feed, share_inputs=True, share_outputs=False)
        return [results[port] for port in self._ports]

    def placement(self) -> tuple[dict[str, dict[str, int]] | None, str | None]:
        """Return ({device: {kernel: number of nodes}}, None), or (None, why not)."""
        try:
            nodes = [_kernel(op.get_rt_info()) for op in self._compiled.get_runtime_model().get_ops()]
        except Exception as error:  # noqa: BLE001 - a plugin without it: the outputs are what counts
            return None, f"OpenVINO's runtime model could not be read: {type(error).__name__}: {error}"
        counts: dict[str, int] = {}
        for kernel in sorted(filter(None, nodes)):
            counts[kernel] = counts.get(kernel, 0) + 1
        return ({self.provider_used: counts}, None) if counts else (None, "OpenVINO's runtime model names no kernel")


_NO_WORK = frozenset({"Const", "Input", "Output", "Parameter", "Result"})


def _kernel(info: Any) -> str | None:
    """`Convolution u8`: kind of layer and the precision that it computes in, from a node of the runtime model; None for what computes nothing."""
    if "layerType" not in info:
        return None
    kind = info["layerType"].astype(str)
    precision = info["runtimePrecision"].astype(str) if "runtimePrecision" in info else ""
    return None if kind in _NO_WORK else f"{kind} {precision}".strip()


def _name(port: Any) -> str:
    """A tensor may have several names, or none."""
    return str(port.get_any_name()) if port.get_names() else str(port.get_node().get_friendly_name())


def _is_open(port: Any) -> bool:
    shape = port.get_partial_shape()
    return bool(shape.rank.is_static and len(shape) and shape[0].is_dynamic)


def load(model: str, setting: dict[str, Any], profile: str | None = None) -> Compiled:  # noqa: ARG001 - every runtime's `load`
    """Open an .xml file of OpenVINO's form, its weights in the .bin beside it.

    One stream, for latency. Left to itself the CPU plugin computes floats in bfloat16 or float16 where the CPU has such instructions, which changes answers: `precision`
    says what it computes in, fp32 where it says nothing.

    Args:
        model: its path.
        setting: provider (the device), threads (0: all usable cores), precision.
        profile: not needed; a compiled model says at any time what its nodes became.

    Raises:
        RuntimeError: OpenVINO does not take it, in its own words.
    """
    module = _import()
    cores = bool(setting.get("affinity"))
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if setting["provider"] == "CPU":
        options.update(
            {
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": setting["threads"] or usable_cores(),
                "INFERENCE_PRECISION_HINT": _PRECISIONS[setting.get("precision") or "fp32"],
                # Its own pinning would undo an affinity.
                "ENABLE_CPU_PINNING": not cores,
            }
        )
    try:
        compiled = module.Core().compile_model(model, setting["provider"], options)
    except RuntimeError as error:
        raise RuntimeError(said(str(error))) from None
    return Compiled(compiled, setting["provider"])


def said(text: str) -> str:
    """Return what a message of OpenVINO says went wrong: its last line. Those before name places in its own source, and the whole graph around a node."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_PLACES)]
    return (telling or lines or ["OpenVINO does not say why"])[-1]
