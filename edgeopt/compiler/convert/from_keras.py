"""Keras files and SavedModel folders, through tf2onnx in an environment of the user's. Child side.

TensorFlow and what edgeopt needs seldom live in one environment, so the converter is another interpreter, which the user names. It runs inside of the confined child, with its limits and
without a network.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from edgeopt.compiler.refuse import Refused, shorten

OPSET = 17
TIMEOUT_S = 600.0


def convert_keras(request: dict[str, Any], path: Path) -> list[str]:
    """Write the ONNX file; returns remarks. `{"source", "python"}`: the file or folder, and the interpreter that has tf2onnx.

    Raises:
        Refused: model-unsupported with the converter's last words.
    """
    source, python = request["source"], request["python"]
    kind = "--saved-model" if Path(source).is_dir() else "--keras"
    command = [python, "-m", "tf2onnx.convert", kind, source, "--output", str(path), "--opset", str(OPSET)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except OSError as error:
        raise Refused("model-unsupported", f"{python} cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Refused("model-unsupported", f"tf2onnx was not done after {TIMEOUT_S:.0f} s") from error
    if done.returncode or not path.is_file():
        last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "it says nothing")
        raise Refused("model-unsupported", f"tf2onnx does not convert it: {shorten(last)}")
    return ["converted by tf2onnx; its answers were not compared with TensorFlow's"]
