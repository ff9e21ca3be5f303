"""Calls `pnnx`, ncnn's converter: a program in a wheel, of which nothing is imported (its Python part wants PyTorch). Child side.

It runs inside the confined child, and so within its limits on memory, files and network, in the child's process group, which the caller kills as one.
"""

from __future__ import annotations

import contextlib
import re
import resource
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgeopt.compiler.refuse import Refused, shorten

TIME_S = 600
"""The largest models of small boards take seconds."""

PARAM, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"
_KINDS = {"float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32"}
_EXAMPLE = re.compile(r'ex\.input\("in(\d+)", ncnn\.Mat\(in\d+\.numpy\(\)(?:, batch_index=(\d+))?\)')
"""The line of the example that pnnx writes which says how an input is fed."""
_NO_AXIS = "233"
"""What it writes where no axis is dropped."""

_TELLING = re.compile(r"fatal error|not a registered|unsupported|not supported|failed|expect", re.IGNORECASE)


def convert(model: Path, inputs: Sequence[tuple[str, Sequence[int]]]) -> dict[int, int | None]:
    """Convert an ONNX file; `model.ncnn.param` and `model.ncnn.bin` lie beside it then.

    Args:
        model: in a folder of its own, called `model.onnx`.
        inputs: (dtype, shape) of each, in order.

    Returns:
        {number of an input: the axis that ncnn does not have, None when it has all}.

    Raises:
        Refused: pnnx is not installed, or gives up, or takes too long.
    """
    sizes = ",".join(f"[{','.join(map(str, shape))}]{_KINDS[dtype]}" for dtype, shape in inputs)
    said = _run([str(_program()), model.name, f"inputshape={sizes}", "fp16=0"], model.parent)
    example = model.parent / "model_ncnn.py"
    if not (model.parent / PARAM).is_file() or not example.is_file():
        raise Refused("step-failed", f"pnnx, ncnn's converter, does not take it: {said}")
    found = _EXAMPLE.findall(example.read_text(errors="replace"))
    return {int(number): int(axis) if axis not in ("", _NO_AXIS) else None for number, axis in found}


def _program() -> Path:
    found = find_spec("pnnx")
    if found is None or found.origin is None:
        raise Refused("step-failed", "it needs pnnx, ncnn's converter: pip install 'edgeopt[ncnn]'")
    return Path(found.origin).parent / "pnnx"


def _run(command: list[str], folder: Path) -> str:
    """What it says of its failure, if that is what it was."""
    log = folder / "pnnx.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        # It would outlive a caller that is killed: its processor time ends it then.
        with contextlib.suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (TIME_S, TIME_S))
        try:
            process.wait(TIME_S)
        except subprocess.TimeoutExpired as error:
            raise Refused("step-failed", f"pnnx, ncnn's converter, was not done after {TIME_S} s") from error
        finally:
            process.kill()
            process.wait()
    return words(log.read_text(errors="replace"), process.returncode)


def words(log: str, status: int) -> str:
    """The line of its log that says why; else how it ended."""
    lines = [line.strip() for line in log.splitlines() if _TELLING.search(line)]
    return shorten(lines[-1]) if lines else f"it ended with status {status} and does not say why"
