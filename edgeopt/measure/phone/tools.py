"""Native benchmark programs that the user brings: how each is asked, and what it says. Pure.

Formats and flags as in tensorflow/lite/tools/benchmark (benchmark_model.cc, benchmark_tflite_model.cc) and onnxruntime/test/perftest (command_args_parser.cc, performance_runner.cc).
What a program does not tell is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_COUNTS = re.compile(
    rf"count=(\d+)(?: first=\d+)? curr=\d+(?: min=\d+ max=\d+ avg={_NUMBER} std=\d+)?(?: p5=\d+ median=(\d+))?"
)
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_PEAK_MB = re.compile(rf"[Pp]eak memory footprint \(MB\) via periodic monitoring: {_NUMBER}")
_CREATION_S = re.compile(rf"Session creation time cost: {_NUMBER} s")
_PEAK_BYTES = re.compile(r"Peak working set size: ?(\d+)")
_FIRST_MS = re.compile(r"First inference time cost: (\d+) ms")
_FALLBACK = "will not be executed by the delegate"
_FINE_DIGITS = 3
"""The median comes in whole microseconds, the mean in six digits: below 100 us half a microsecond is more than 0.5 %, and the mean tells more."""
_LONGEST_NS = 1 << 62
MAX_LATENCIES = 20_000


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a program said of one process. `latencies_ns` are all inferences that count, or one value that stands for all of them (`latencies_are`)."""

    latencies_ns: tuple[int, ...]
    latencies_are: Literal["each", "median", "mean"] = "each"
    inferences: int | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    peak_rss_bytes: int | None = None
    provider_used: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A program: what its file's name contains, whose runtime it is, which files it opens, what it computes with, and what is in its help."""

    name: str
    runtime: Literal["onnxruntime", "litert"]
    suffix: str
    provider: str
    sign: str


BENCHMARK_MODEL = Tool(
    name="benchmark_model", runtime="litert", suffix=".tflite", provider="XNNPACK", sign="input_layer_shape"
)
PERF_TEST = Tool(
    name="onnxruntime_perf_test",
    runtime="onnxruntime",
    suffix=".onnx",
    provider="CPUExecutionProvider",
    sign="Specifies the test mode",
)
TOOLS = (BENCHMARK_MODEL, PERF_TEST)


def tool_of(file: str) -> Tool | None:
    """Return which program a file is, by its name; None for anything else, such as a library that one of them needs."""
    return None if file.endswith(".so") else next((tool for tool in TOOLS if tool.name in file), None)


def gives_answers(tool: Tool, help_text: str) -> bool:
    """Tell whether a program can be made to write the network's answers to a file."""
    return tool is BENCHMARK_MODEL and "output_filepath" in help_text and "input_layer_value_files" in help_text


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a program: paths on the phone and how long. Times in seconds. `inputs`: (shape, file) of each input of benchmark_model.

    `pace_s`: what one inference took before; None when nobody knows. onnxruntime_perf_test takes whole seconds or a number of inferences.
    """

    program: str
    model: str
    threads: int
    result: str
    min_s: float
    max_s: float
    inferences: int
    warmup_s: float = 0.0
    warmups: int = 1
    inputs: tuple[tuple[tuple[int, ...], str], ...] = ()
    answers: str | None = None
    pace_s: float | None = None

    @property
    def repeats(self) -> int | None:
        """How many inferences fill the time; None when that is not known."""
        if self.min_s <= 0:
            return self.inferences
        if not self.pace_s:
            return None
        most = max(1, math.floor(self.max_s / self.pace_s))
        return min(max(self.inferences, math.ceil(self.min_s / self.pace_s)), most, MAX_LATENCIES)


def arguments(tool: Tool, run: Run, setting: Mapping[str, Any]) -> list[str]:
    """Return the words that start a program.

    Raises:
        ValueError: it has no such setting.
    """
    return _benchmark_model(run, setting) if tool is BENCHMARK_MODEL else _perf_test(run, setting)


def _benchmark_model(run: Run, setting: Mapping[str, Any]) -> list[str]:
    if setting.get("spinning") is not None or setting.get("arena") is not None:
        raise ValueError("benchmark_model cannot be told whether threads spin or memory is kept")
    words = [
        run.program,
        f"--graph={run.model}",
        f"--num_threads={run.threads}",
        f"--num_runs={run.inferences}",
        f"--min_secs={run.min_s:g}",
        f"--max_secs={run.max_s:g}",
        f"--warmup_runs={run.warmups}",
        f"--warmup_min_secs={run.warmup_s:g}",
        "--use_xnnpack=true",
        "--report_peak_memory_footprint=true",
    ]
    if run.inputs:
        # Names need not be the file's own: the program goes by their order, and warns.
        names = [f"i{number}" for number in range(len(run.inputs))]
        words += [
            f"--input_layer={','.join(names)}",
            f"--input_layer_shape={':'.join(','.join(map(str, shape)) for shape, _ in run.inputs)}",
            f"--input_layer_value_files={','.join(f'{name}:{path}' for name, (_, path) in zip(names, run.inputs, strict=True))}",
        ]
    return words if run.answers is None else [*words, f"--output_filepath={run.answers}"]


def _perf_test(run: Run, setting: Mapping[str, Any]) -> list[str]:
    if run.answers is not None:
        raise ValueError("onnxruntime_perf_test does not give the network's answers")
    seconds, count = ["-m", "duration", "-t", str(math.ceil(run.min_s))], run.repeats
    long = seconds if count is None else ["-m", "times", "-r", str(count)]
    words = [run.program, "-e", "cpu", *long, "-x", str(run.threads), "-s"]
    words += ["-D"] if setting.get("spinning") is False else []
    words += ["-A"] if setting.get("arena") is False else []
    return [*words, run.model, run.result]


def read(tool: Tool, text: str, result: str) -> Reading | None:
    """Return what a program said; None when it did not come to its end.

    Args:
        tool: which.
        text: what it printed on both streams.
        result: columns 2 and 3 of the file that onnxruntime_perf_test writes: seconds, and bytes at its end.
    """
    return _read_benchmark_model(text) if tool is BENCHMARK_MODEL else _read_perf_test(text, result)


def _read_benchmark_model(text: str) -> Reading | None:
    """Read the second `count=` line, which is of the timed part, and the line of timings. No version prints single latencies; newer ones print the median."""
    counts, timings = list(_COUNTS.finditer(text)), _TIMINGS.search(text)
    if len(counts) < 2 or timings is None:
        return None
    timed = counts[-1]
    mean, median = timings[4], timed[3]
    if median is not None and len(median) < _FINE_DIGITS:
        median = None
    level = _ns(median or mean, 1e3)
    if level is None:
        return None
    peak = _PEAK_MB.search(text)
    return Reading(
        latencies_ns=(level,),
        latencies_are="median" if median else "mean",
        inferences=int(timed[1]) if len(timed[1]) < 12 else None,
        load_ns=_ns(timings[1], 1e3),
        first_ns=_ns(timings[2], 1e3),
        peak_rss_bytes=_ns(peak[1], float(1 << 20)) if peak else None,
        provider_used=_provider_used(text),
    )


def _provider_used(text: str) -> str | None:
    if "XNNPACK" not in text:
        return None
    return "CPU" if _FALLBACK in text else BENCHMARK_MODEL.provider


def _read_perf_test(text: str, result: str) -> Reading | None:
    values = [_ns(line.partition(",")[0], 1e9) for line in result.splitlines()[:MAX_LATENCIES]]
    latencies = tuple(value for value in values if value is not None)
    created = _CREATION_S.search(text)
    if not latencies or created is None:
        return None
    peak, first = _PEAK_BYTES.search(text), _FIRST_MS.search(text)
    return Reading(
        latencies_ns=latencies,
        inferences=len(latencies),
        load_ns=_ns(created[1], 1e9),
        # It tells whole milliseconds: 0 of them is not known.
        first_ns=(_ns(first[1], 1e6) or None) if first else None,
        peak_rss_bytes=int(peak[1]) if peak and 0 < int(peak[1][:18]) < _LONGEST_NS else None,
        provider_used=PERF_TEST.provider,
    )


def _ns(word: str, unit: float) -> int | None:
    """A positive number in another unit; None for anything that is none."""
    try:
        value = float(word) * unit
    except ValueError:
        return None
    return round(value) if math.isfinite(value) and 0 <= value < _LONGEST_NS else None


def mask(cores: Sequence[int]) -> str:
    """Return cores as taskset takes them, in hexadecimal; "" for all."""
    return f"{sum(1 << core for core in set(cores)):x}" if cores else ""
