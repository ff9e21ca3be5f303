"""Stand-ins for the two benchmark programs that people bring to phones.

They are no programs of a phone: Python runs them on this machine, through the runtimes that are installed here. Their flags, files and printed forms are those of the real ones, so that
everything around them is tested: benchmark_model as of 2024 (median in its counts, answers to a file), onnxruntime_perf_test as of 1.20.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]


def write_program(folder: Path, name: str, *, does: str | None = None) -> Path:
    """Make an executable file that behaves as the program its name says; `does` is Python that runs before (to break it)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    which = "benchmark_model" if "benchmark_model" in name else "perf_test"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / 'agent')!r}]\n{does or ''}\n"
        f"from tests.fakes.phone_programs import {which}\nsys.exit({which}(sys.argv[1:]))\n"
    )
    path.chmod(0o755)
    return path


def write_script(folder: Path, name: str = "onnxruntime_perf_test", *, does: str = "") -> Path:
    """Make a stand-in for onnxruntime_perf_test that runs no network: a shell script that prints what the real one would. `does` comes before; quick, for all but the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        """#!/bin/sh
case "$*" in *--help*) echo "perf_test [options...] model_path [result_file]"; echo "	-m [test_mode]: Specifies the test mode."; exit 255;; esac
"""
        + does
        + """
for r; do m=$b; b=$r; done
[ -f "$m" ] || { echo "Load model from $m failed"; exit 255; }
[ -d "${m%/*}/test_data_set_0" ] || { echo "there is no test data for model"; exit 255; }
i=0; while [ $i -lt 60 ]; do echo "m,0.00100$((i % 7)),40960000,98,$i" >> "$r"; i=$((i + 1)); done
echo "Session creation time cost: 0.0102 s"; echo "First inference time cost: 2 ms"; echo "Peak working set size: 40960000 bytes"
"""
    )
    path.chmod(0o755)
    return path


HELP = """usage: {0}
Flags:
\t--num_runs=50                                     \tint32\toptional\texpected number of runs, see also min_secs, max_secs
\t--graph=                                          \tstring\trequired\tgraph file name
\t--input_layer=                                    \tstring\toptional\tinput layer names
\t--input_layer_shape=                              \tstring\toptional\tinput layer shape
\t--input_layer_value_files=                        \tstring\toptional\tA map-like string representing value file.
\t--output_filepath=                                \tstring\toptional\tFile path to export outputs layer as binary data.
"""


def benchmark_model(argv: list[str]) -> int:
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in argv)
    if "help" in flags:
        sys.stderr.write(HELP.format(sys.argv[0]))
        return 1
    from edgeopt_agent.runtimes import open_runtime

    say("STARTING!", f"Num threads: [{flags['num_threads']}]", f"Graph: [{flags['graph']}]")
    begun = time.perf_counter_ns()
    setting = {"runtime": "litert", "provider": "XNNPACK", "threads": int(flags["num_threads"])}
    model = open_runtime("litert").load(flags["graph"], setting)
    init_us = (time.perf_counter_ns() - begun) / 1e3
    say("Created TensorFlow Lite XNNPACK delegate for CPU.", f"Initialized session in {init_us / 1e3:g}ms.")
    feeds = _feeds(flags, model)
    warmup = _loop(model, feeds, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), float(flags["max_secs"]))
    timed = _loop(model, feeds, int(flags["num_runs"]), float(flags["min_secs"]), float(flags["max_secs"]))
    say(_counts(warmup), "", _counts(timed), "")
    say(
        f"Inference timings in us: Init: {init_us:.0f}, First inference: {warmup[0]:.0f}, Warmup (avg): {statistics.mean(warmup):g}, Inference (avg): {statistics.mean(timed):g}"
    )
    say("Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859")
    if flags.get("report_peak_memory_footprint") == "true":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(f"Overall peak memory footprint (MB) via periodic monitoring: {peak:g}")
    if "output_filepath" in flags:
        Path(flags["output_filepath"]).write_bytes(b"".join(a.tobytes() for a in model.run(feeds)))
    return 0


def say(*lines: str) -> None:
    sys.stderr.write("".join(f"INFO: {line}\n" for line in lines))


def _feeds(flags: dict[str, str], model: Any) -> dict[str, Any]:
    files = [part.rpartition(":")[2] for part in flags["input_layer_value_files"].split(",")]
    shapes = [tuple(map(int, part.split(","))) for part in flags["input_layer_shape"].split(":")]
    return {
        name: np.frombuffer(Path(file).read_bytes(), np.float32).reshape(shape)
        for name, file, shape in zip(model.input_names, files, shapes, strict=True)
    }


def _loop(model: Any, feeds: dict[str, Any], least: int, min_s: float, max_s: float) -> list[float]:
    begun, spent = time.perf_counter(), []
    while (len(spent) < least or time.perf_counter() - begun < min_s) and time.perf_counter() - begun <= max_s:
        start = time.perf_counter_ns()
        model.run(feeds)
        spent.append((time.perf_counter_ns() - start) / 1e3)
    return spent


def _counts(spent: list[float]) -> str:
    if len(spent) == 1:
        return f"count=1 curr={spent[0]:.0f}"
    ordered = sorted(spent)
    return (
        f"count={len(spent)} first={spent[0]:.0f} curr={spent[-1]:.0f} min={min(spent):.0f} max={max(spent):.0f} avg={statistics.mean(spent):g} std={statistics.stdev(spent):.0f} "
        f"p5={ordered[len(ordered) // 20]:.0f} median={statistics.median(spent):.0f} p95={ordered[len(ordered) * 95 // 100]:.0f}"
    )


def perf_test(argv: list[str]) -> int:
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(
            "perf_test [options...] model_path [result_file]\nOptions:\n\t-m [test_mode]: Specifies the test mode.\n"
        )
        return 0 if "-h" in argv else 255
    import onnxruntime as ort
    from onnx import TensorProto, numpy_helper

    options = {word: argv[n + 1] for n, word in enumerate(argv) if word in ("-m", "-r", "-t", "-x", "-e")}
    path, result = Path(argv[-2]), Path(argv[-1])
    begun = time.perf_counter()
    threads = ort.SessionOptions()
    threads.intra_op_num_threads = int(options["-x"])
    session = ort.InferenceSession(str(path), threads, providers=["CPUExecutionProvider"])
    created = time.perf_counter() - begun
    names = [item.name for item in session.get_inputs()]
    sets = sorted(path.parent.glob("test_data_set_*"))
    if not sets:
        sys.stdout.write(f"there is no test data for model {path.parent.name}\n")
        return 255
    feeds = []
    for folder in sets:
        tensors = [TensorProto.FromString((folder / f"input_{n}.pb").read_bytes()) for n in range(len(names))]
        feeds.append({tensor.name: numpy_helper.to_array(tensor) for tensor in tensors})
    start = time.perf_counter()
    session.run(None, feeds[0])
    first_ms = round((time.perf_counter() - start) * 1e3)
    spent: list[float] = []
    while len(spent) < int(options["-r"]) if options["-m"] == "times" else sum(spent) < int(options["-t"]):
        start = time.perf_counter()
        session.run(None, feeds[len(spent) % len(feeds)])
        spent.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ordered = sorted(spent)
    sys.stdout.write(
        f"Setting intra_op_num_threads to {options['-x']}\nSession creation time cost: {created:g} s\nFirst inference time cost: {first_ms} ms\n"
        f"Total inference time cost: {sum(spent):g} s\nTotal inference requests: {len(spent)}\nAverage inference time cost: {1e3 * sum(spent) / len(spent):g} ms\n"
        f"Avg CPU usage: 98 %\nPeak working set size: {peak} bytes\nP50 Latency: {ordered[len(ordered) // 2]:g} s\n"
    )
    with result.open("a") as stream:
        stream.writelines(
            f"{path.parent.name},{seconds:g},{peak},98,{number}\n" for number, seconds in enumerate(spent)
        )
    return 0


GETPROP = """[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.board.platform]: [fakeplatform]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.device]: [fake]
[ro.product.manufacturer]: [Nobody]
[ro.product.model]: [Fake Phone]
[ro.serialno]: [SECRETSERIAL]
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 87
  scale: 100
  voltage: 4312
  temperature: 271
  technology: Li-ion
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=99.0, mType=0, mName=BIG, mStatus=3}}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
\tTemperature{{mValue=31.25, mType=3, mName=VIRTUAL-SKIN, mStatus=0}}
\tTemperature{{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}}
\tTemperature{{mValue=42.5, mType=0, mName=BIG, mStatus=0}}
\tTemperature{{mValue=4200.0, mType=6, mName=voltage, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=5, mName=tpu_cooling}}
"""


def equip(phone: Any, *, thermal_status: int = 0) -> None:
    """Give a fake phone the commands that only Android has: they print answers in the form of real ones, written for these tests."""
    phone.script("getprop", f"cat << 'END'\n{GETPROP}END\n")
    thermal = THERMAL.format(status=thermal_status)
    phone.script(
        "dumpsys",
        f"case $1 in\nbattery) cat << 'END'\n{BATTERY}END\n;;\nthermalservice) cat << 'END'\n{thermal}END\n;;\n*) echo \"Can't find service: $1\"; exit 20;;\nesac\n",
    )
