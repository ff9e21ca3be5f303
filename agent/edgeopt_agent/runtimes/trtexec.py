"""What NVIDIA's `trtexec` is told and what it says. Pure.

Flags and formats as in NVIDIA/TensorRT, samples/common (sampleOptions.cpp, sampleReporting.cpp, sampleInference.cpp), of TensorRT 8.2 to 10; the sentences as people have reported them.
"""

from __future__ import annotations

import json
import math
import re

from edgeopt_agent.errors import BlockFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BANNER = re.compile(r"\[TensorRT v(\d{4,7})\]")
_LOADED_S = re.compile(r"Engine (?:loaded|deserialized) in ([0-9.]+(?:e[+-]?[0-9]+)?) sec")
_ERROR = re.compile(r"^(?:\[[^\]\n]*\] )*\[E\] (?:\[TRT\] )?(.*\S)", re.MULTILINE)
_PASSED = "&&&& PASSED TensorRT.trtexec"
_MOST_TIMES = 200_000
_LONGEST_MS = 1e9

_STALE = ("incompatible device", "incompatible with this version", "version tag does not match", "magic", "safeversion")
_NO_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "bad_alloc")
_NO_GPU = ("no cuda-capable device", "cuda driver version is insufficient", "cuda initialization failure")
_OPERATOR = re.compile(
    r'No importer registered for op: (\w+)|op_type: "(\w+)"|Unsupported operator (\w+)|Operator (\w+) is not supported'
)
_NO_KERNEL = re.compile(r"Could not find any implementation for node (\S+)")
_OPTION = re.compile(r"Unknown option: (\S+)")
_VAGUE = (
    "engine set up failed",
    "failed to create engine",
    "engine could not be created",
    "building engine failed",
    "engine deserialization failed",
    "error in model parsing",
)


class StaleEngine(Exception):
    """An engine was built by another TensorRT, or for another GPU."""


def version_of(said: str) -> str | None:
    """Return TensorRT's version from the banner: `v8502` is 8.5.2, `v100400` is 10.4.0."""
    found = _BANNER.search(said)
    if found is None:
        return None
    number = int(found[1])
    base = 1000 if number < 10_000 else 10_000
    return f"{number // base}.{number % base // 100}.{number % 100}"


def build_words(program: str, model: str, engine: str, precision: str, *, int8: bool = False) -> list[str]:
    """Return the words that build an engine; one inference is made with it, since no flag that leaves this out is known to all versions.

    Floats are computed as such, not in TF32, which GPUs from Ampere on take by themselves and which changes answers; float16 where it is asked for. `int8`: the model says itself what is int8 (QDQ), which has to be allowed.
    """
    arithmetic = "--fp16" if precision == "fp16" else "--noTF32"
    integers = ["--int8"] if int8 else []
    return [program, f"--onnx={model}", f"--saveEngine={engine}", arithmetic, *integers, *_ONCE]


_ONCE = ("--iterations=1", "--duration=0", "--warmUp=0")


def answer_words(program: str, engine: str, inputs: dict[str, str], answers: str) -> list[str]:
    """Return the words for one inference whose answers are written. `inputs`: {name: file of raw bytes}."""
    return [program, f"--loadEngine={engine}", _fed(inputs), f"--exportOutput={answers}", *_ONCE]


def time_words(
    program: str, engine: str, inputs: dict[str, str], times: str, *, least: int, min_s: float, warmup_s: float
) -> list[str]:
    """Return the words for a timed part: at least so many inferences, and so long.

    trtexec sends the next inference on its way while one runs; `--exposeDMA` lets copies wait for each other, as they do where one inference follows the other.
    """
    return [
        program,
        f"--loadEngine={engine}",
        _fed(inputs),
        f"--exportTimes={times}",
        f"--iterations={max(1, least)}",
        f"--duration={min_s:g}",
        f"--warmUp={1000 * warmup_s:g}",
        "--exposeDMA",
    ]


def _fed(inputs: dict[str, str]) -> str:
    """Names in quotes, for they may hold colons."""
    return "--loadInputs=" + ",".join(f"'{name}':{path}" for name, path in inputs.items())


def has_passed(said: str) -> bool:
    """Tell whether it came to a good end."""
    return _PASSED in said


def load_ns(said: str) -> int | None:
    """Return how long it took to bring the engine into memory, as it says."""
    found = _LOADED_S.search(said)
    return None if found is None else _positive(found[1], 1e9)


def latencies_ns(text: str, warmup_s: float) -> list[int]:
    """Return from the file of `--exportTimes` how long each inference took: copying in, computing, copying out, by the GPU's own clock. Warm-up, which older versions write too, is left out.

    Raises:
        ValueError: it is no such file.
    """
    entries = _entries(text)
    kept = [entry for entry in entries if _number(entry, "startComputeMs") >= 1000 * warmup_s]
    found = [_number(entry, "latencyMs") for entry in (kept or entries)[:_MOST_TIMES]]
    if any(not 0 < value < _LONGEST_MS for value in found):
        raise ValueError("it tells of an inference that took no time, or years")
    return [round(value * 1e6) for value in found]


def _entries(text: str) -> list[dict[str, Any]]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its file of times is no JSON: {error}") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("its file of times lists no inferences")
    return entries


def _number(entry: dict[str, Any], name: str) -> float:
    value = entry.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"its file of times has no {name}")
    return float(value)


def answers(text: str) -> dict[str, list[float]]:
    """Return {name: values in their order} from the file of `--exportOutput`. It prints six digits.

    Raises:
        ValueError: it is no such file. `nan` and `inf`, which are no JSON, are read as such.
    """
    plain = _NO_NUMBER.sub(lambda found: _JSON[found[0]], text)
    try:
        listed = json.loads(plain)
        found = {str(item["name"]): [float(value) for value in item["values"]] for item in listed}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"its file of answers cannot be read: {type(error).__name__}: {error}") from error
    return found


_NO_NUMBER = re.compile(r'(?<![\w".-])-?(?:nan|inf)(?![\w"])')
_JSON = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def refusal(said: str) -> Exception:
    """Return what its words mean: a StaleEngine, or a BlockFailed with a sentence."""
    errors = _ERROR.findall(said)
    lower = "\n".join(errors).lower()
    if any(word in lower for word in _STALE):
        return StaleEngine(_last(errors))
    if any(word in lower for word in _NO_MEMORY):
        return BlockFailed("memory", "TensorRT ran out of memory")
    if any(word in lower for word in _NO_GPU):
        return BlockFailed("error", f"TensorRT finds no GPU that it can use: {_last(errors)}")
    sentence = _in_the_way(said, "\n".join(errors)) or _last(errors) or _last(said.splitlines()) or _SILENT
    return BlockFailed("error", sentence)


_SILENT = "trtexec ended without a word"


def _in_the_way(said: str, errors: str) -> str | None:
    operator, kernel, option = _OPERATOR.search(errors), _NO_KERNEL.search(said), _OPTION.search(said)
    if operator is not None:
        return f"TensorRT does not know the operator {next(filter(None, operator.groups()))}"
    if kernel is not None:
        return f"TensorRT has no kernel for {kernel[1].rstrip('.)')}, or too little memory to try those that it has"
    return None if option is None else f"this version of trtexec does not know {option[1]}"


def _last(lines: list[str]) -> str:
    """The last line that says more than that something failed; else the last one."""
    told = [line.strip() for line in lines if line.strip()]
    telling = [line for line in told if not line.lower().startswith((*_VAGUE, "&&&&"))]
    return (telling or told or [""])[-1]


def _positive(text: str, unit: float) -> int | None:
    try:
        value = float(text) * unit
    except ValueError:
        return None
    return round(value) if math.isfinite(value) and 0 < value < 1 << 62 else None
