"""ncnn. Its files know neither the model's names nor its first axis; `model.json` beside them says how the model looks from outside, as the converter wrote it."""

from __future__ import annotations

import json
import os
import sys

from edgeopt_agent.probes.cpu import usable_cores
from edgeopt_agent.runtimes.distribution import version_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CPU = "CPU"
_PARAM = ".param"
_BORDER = "model.json"
_MAX_TEXT = 64 << 20
_HEADER_LINES = 2
"""Of a .param file: the magic number, and the counts of layers and blobs."""
_INT8 = "8"
"""The parameter of products that says how their integers are scaled; 0, or not there, where they compute in float (ncnn wiki, operation-param-weight-table)."""


def find(folders: list[str]) -> str | None:
    """Return the version that an import would find in these folders, without importing it."""
    return version_in(folders, "ncnn", "ncnn")


def version() -> str:
    """Return the version of the one that is imported."""
    module = _import()
    return find(sys.path) or str(module.__version__)


def providers() -> list[str]:
    """Return what it can compute on. Its Vulkan is not used: on small boards it is slower than the CPU."""
    _import()
    return [_CPU]


def _import() -> Any:
    import ncnn

    return ncnn


class Network:
    """An open model. An input is copied, since ncnn writes over what the first layers read; outputs are arrays of their own."""

    takes_batches = False
    """ncnn computes one sample after the other."""
    provider_used = _CPU

    def __init__(self, module: Any, net: Any, border: dict[str, Any], layers: list[str]) -> None:
        import numpy as np

        inputs, outputs = (
            dict(zip(net.input_names(), net.input_indexes())),
            dict(zip(net.output_names(), net.output_indexes())),
        )
        self._net, self._layers = net, layers
        self._mat, self._array, self._asarray, self._rint = module.Mat, np.array, np.asarray, np.rint
        self.input_names = [str(item["name"]) for item in border["inputs"]]
        self.output_names = [str(item["name"]) for item in border["outputs"]]
        self._inputs = [
            (item["name"], inputs[item["blob"]], tuple(item["fed"]), np.dtype(item["fed_as"]))
            for item in border["inputs"]
            if item["blob"] in inputs  # one that the network does not need has no blob
        ]
        self._outputs = [
            (outputs[item["blob"]], tuple(item["shape"]), np.dtype(item["dtype"])) for item in border["outputs"]
        ]

    def run(self, feed: dict[str, Any]) -> list[Any]:
        """Run the model once: {input name: array} -> the outputs in the model's order.

        Raises:
            RuntimeError: ncnn gives up; on most failures it says why on stderr.
            ValueError: an input of another size than the file was made for.
        """
        extractor, mat = self._net.create_extractor(), self._mat
        for name, blob, shape, dtype in self._inputs:
            values = self._asarray(feed[name], dtype, "C").reshape(shape)
            extractor.input(blob, mat(values).clone())
        results = []
        for blob, shape, dtype in self._outputs:
            found = mat()
            code = extractor.extract(blob, found)
            if code:
                raise RuntimeError(f"ncnn could not compute an output (code {code})")
            # Codes of 8 bits leave ncnn as floats that were not rounded.
            answer = self._array(found) if dtype.kind == "f" else self._rint(self._array(found))
            results.append(answer.astype(dtype, copy=False).reshape(shape))
        return results

    def placement(self) -> tuple[dict[str, dict[str, int]] | None, str | None]:
        """Return ({"CPU": {layer: number of such}}, None), or (None, why not). ncnn has no other provider here, and computes the layers that stand in its file."""
        counts: dict[str, int] = {}
        for layer in self._layers:
            counts[layer] = counts.get(layer, 0) + 1
        return ({_CPU: counts}, None) if counts else (None, "the file lists no layers")


_NO_WORK = frozenset({"Input", "MemoryData", "Noop", "Split"})


def layers_of(text: str) -> list[str]:
    """Return the kind of each layer that computes, `Convolution` or `Convolution int8`, from the text of a .param file."""
    kinds = []
    for line in text.splitlines()[_HEADER_LINES:]:
        words = line.split()
        if words and words[0] not in _NO_WORK:
            scales = [word.partition("=")[2] for word in words if word.startswith(f"{_INT8}=")]
            is_int8 = words[0].startswith(("Convolution", "InnerProduct")) and scales not in ([], ["0"])
            kinds.append(f"{words[0]} int8" if is_int8 else words[0])
    return kinds


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read(_MAX_TEXT)


_HALVES = {
    "fp16": ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"),
    "bf16": ("use_bf16_packed", "use_bf16_storage"),
}
"""Precision -> the options that allow it. Not every version has all of them."""


def _compute_in(options: Any, precision: str) -> None:
    for name, switches in _HALVES.items():
        for switch in switches:
            if hasattr(options, switch):
                setattr(options, switch, name == precision)


def load(model: str, setting: dict[str, Any], profile: str | None = None) -> Network:  # noqa: ARG001 - every runtime's `load`
    """Open a .param file; its weights lie beside it under the same name with .bin, its description in `model.json`.

    ncnn computes floats in 16 bits where the CPU can, unless it is told not to, which changes answers: `precision` says what it computes in, fp32 where it says nothing.

    Args:
        model: path of the .param file.
        setting: threads (0: all usable cores) and precision.
        profile: not needed; the file lists what is computed.

    Raises:
        ValueError: ncnn cannot read the files.
    """
    module = _import()
    net = module.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = setting["threads"] or usable_cores()
    _compute_in(net.opt, setting.get("precision") or "fp32")
    weights = f"{model[: -len(_PARAM)]}.bin"
    for path, read in ((model, net.load_param), (weights, net.load_model)):
        code = read(path)
        if code:
            raise ValueError(f"ncnn cannot read {os.path.basename(path)} (code {code})")
    border = json.loads(_read(os.path.join(os.path.dirname(model), _BORDER)))
    return Network(module, net, border, layers_of(_read(model)))
