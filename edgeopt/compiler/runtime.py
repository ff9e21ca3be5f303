"""ONNX Runtime as the child uses it: one place for session options and for the names of types. Child side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeopt.compiler.refuse import Refused, out_of_memory, shorten
from edgeopt.domain.model import TensorSpec

THREADS = 2
"""Fixed, not the host's cores: the order of float additions, and so the last bits of an answer, depends on it."""

EXACT = ("session.x64quantprecision", "1")
"""Entry of a session's configuration: integer products that do not saturate. AVX2 without VNNI adds two of unsigned by signed bytes in 16 bits, and answers would differ from those of the board that a file is for (`onnxruntime_session_options_config_keys.h`, Avx2PrecisionMode)."""

_ELEMENTS = {
    "float": "float32",
    "float16": "float16",
    "double": "float64",
    "bool": "bool",
    "string": "str",
} | {name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bfloat16")}

FEEDABLE = frozenset({"float16", "float32", "float64", "bool"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""dtypes that numpy has, and that samples and answers can be."""


def open_session(model: Path | bytes) -> Any:
    """A CPU session that stays quiet, does not spin, and does not talk to anybody."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*EXACT)
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )


def runtime_version() -> str:
    """That of the runtime which is imported."""
    import onnxruntime as ort

    return str(ort.__version__)


def load_or_refuse(model: Path) -> Any:
    """Open a session on a model that nothing is known of.

    Raises:
        Refused: model-unsupported with the runtime's words.
    """
    try:
        return open_session(model)
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unsupported", f"ONNX Runtime refuses it: {shorten(str(error))}") from error


def specs(values: Any) -> tuple[TensorSpec, ...]:
    """Our words for the runtime's description of inputs or outputs."""
    return tuple(TensorSpec(name=v.name, dtype=type_name(v.type), shape=_shape(v.shape, v.type)) for v in values)


def type_name(described: str) -> str:
    """Name in numpy for `tensor(float)`; words for what numpy has not: `seq(tensor(float))` is `sequence(float32)`."""
    plain = re.fullmatch(r"tensor\((\w+)\)", described)
    if plain:
        return _ELEMENTS.get(plain[1], plain[1])
    words = re.sub(r"tensor\((\w+)\)", lambda m: _ELEMENTS.get(m[1], m[1]), described)
    return re.sub(r"^seq\(", "sequence(", words)


def _shape(shape: Any, described: str) -> tuple[int | str | None, ...] | None:
    if shape is None or not described.startswith("tensor("):
        return None
    return tuple(
        axis if isinstance(axis, int) and axis >= 0 else (axis if isinstance(axis, str) and axis else None)
        for axis in shape
    )


def check_signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Refuse what cannot be fed from arrays or compared as arrays."""
    if not inputs:
        raise Refused("model-unsupported", "it has no inputs, so there is nothing to feed it")
    if not outputs:
        raise Refused("model-unsupported", "it has no outputs, so there is nothing to compare")
    for what, values in (("input", inputs), ("output", outputs)):
        for spec in values:
            if spec.dtype not in FEEDABLE:
                raise Refused(
                    "model-unsupported",
                    f"its {what} {spec.name[:80]!r} is {spec.dtype}; edgeopt takes models whose inputs and outputs are arrays of "
                    "numbers (float16, float32, float64, integers of 8 to 64 bits, bool)",
                )
