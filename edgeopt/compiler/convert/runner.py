"""Answers of a converted file on this computer: by the very code that runs it on the device, so that both open it in the same way. Child side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.from_tflite.reading import is_tflite
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten
from edgeopt.compiler.runtime import THREADS
from edgeopt.domain.run import plain_provider
from edgeopt_agent.runtimes import open_runtime

RUNTIMES = {".tflite": "litert", ".xml": "openvino", ".param": "ncnn"}
"""By the ending of the file that is opened; everything else is ONNX Runtime's."""


def runtime_of_file(model: Path) -> str | None:
    """Who opens a file; None for ONNX Runtime. What a user calls a TensorFlow Lite file does not matter."""
    return "litert" if is_tflite(model) else RUNTIMES.get(model.suffix)


def open_converted(model: Path) -> Any:
    """Open a file with the runtime that it is for.

    Returns:
        a `LoadedModel` of the agent's: `run({name: array}) -> [array]`, `output_names`.

    Raises:
        Refused: the runtime is not here, or refuses the file.
    """
    runtime = runtime_of_file(model) or "onnxruntime"
    setting = {"runtime": runtime, "provider": plain_provider(runtime), "threads": THREADS}
    try:
        return open_runtime(runtime).load(str(model), setting)
    except ImportError as error:
        raise Refused("step-failed", f"{runtime} is not installed here: {error}") from error
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unsupported", f"{runtime} refuses it: {shorten(str(error))}") from error
