"""Does a block measure what each runtime's own tool measures? Same files, same threads, alternating in one run.

    python benchmarks/measuring/native_tools.py [--model FILE ...] [--threads 1,2] [--rounds 12] [--recipes clean,...]

Eight variants at one number of threads take about eight minutes.

Files are built as `edgeopt compile` builds them, on invented inputs: how long they take does not depend on that. The tools:

    onnxruntime   a bare loop over it in Python (its wheel has no tool)
    openvino      `benchmark_app` of its wheel: the median latency that it prints, of inferences alone
    litert        `litert-benchmark` of its wheel, which runs the same kernels through LiteRT's other interface
    ncnn          a bare loop over it in Python (its tool, benchncnn, is in no wheel)

A block copies inputs in and outputs out as an application does; the two tools do not count that. Each round runs both ways in random order; the ratio is the Hodges-Lehmann level of the rounds'
with its 95 % interval. A tool that prints hundredths of milliseconds says nothing of networks that take less than one.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bare_loop import bare_ms
from board import EXAMPLE, block_of, board_with, example_input

import edgeopt
from edgeopt.domain.run import Candidate, MeasurePlan, Setting, plain_provider
from edgeopt.domain.variant import Built
from edgeopt.measure.rounds import Bench
from edgeopt.select.blocks import block_ms
from edgeopt.select.statistics import hodges_lehmann, median

RECIPES = "clean,int8-static,openvino,openvino-int8,litert,litert-int8,ncnn,ncnn-int8"
SECONDS = 1.0
SEED = 0

BARE_NCNN = """
import json, sys, time, numpy, ncnn
net = ncnn.Net()
net.opt.use_vulkan_compute = False
net.opt.num_threads = int(sys.argv[2])
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
net.load_param(sys.argv[1])
net.load_model(sys.argv[1][:-len("param")] + "bin")
border = json.load(open(sys.argv[4]))
values = numpy.load(sys.argv[3]).reshape(border["inputs"][0]["fed"])
names = [item["blob"] for item in border["outputs"]]
def once():
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(values).clone())
    return [numpy.array(extractor.extract(name)[1]) for name in names]
def loop(seconds, least):
    times, begin = [], time.perf_counter_ns()
    while len(times) < least or time.perf_counter_ns() - begin < seconds * 1e9:
        start = time.perf_counter_ns()
        once()
        times.append(time.perf_counter_ns() - start)
    return times
loop(0.2, 3)
times = sorted(loop(1.0, 20))
print(times[len(times) // 2] / 1e6)
"""
"""Deliberately what anybody would write; as the example that pnnx writes beside a model."""


class Tried(NamedTuple):
    """One variant and one number of threads."""

    variant: Built
    threads: int
    input_name: str
    values: Path
    about_ms: float


def onnxruntime_ms(tried: Tried, graph: Path) -> float:
    return bare_ms(graph, tried.input_name, tried.values, tried.threads)


def openvino_ms(tried: Tried, graph: Path) -> float:
    options = ["-d", "CPU", "-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", str(tried.threads)]
    precise = ["-infer_precision", "f32", "-pin", "YES", "-t", "1"]
    # An open first axis stays open, as in the block.
    options += ["-data_shape", f"{tried.input_name}[{','.join(map(str, np.load(tried.values).shape))}]"]
    said = _run([_script("benchmark_app"), "-m", str(graph), *options, *precise], graph.parent)
    found = re.search(r"Median:\s+([0-9.]+) (ms|us)", said)
    assert found, said
    return float(found[1]) / (1000.0 if found[2] == "us" else 1.0)


def litert_ms(tried: Tried, graph: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "result.json"
        runs = [
            max(least, math.ceil(1000.0 * seconds / tried.about_ms)) for least, seconds in ((20, SECONDS), (3, 0.2))
        ]
        counts = ["--num_runs", str(runs[0]), "--warmup_runs", str(runs[1]), "--num_threads", str(tried.threads)]
        _run([_script("litert-benchmark"), "--model", str(graph), *counts, "--result_json", str(answer)], Path(folder))
        return float(json.loads(answer.read_text())["latency"]["median_ms"])


def ncnn_ms(tried: Tried, graph: Path) -> float:
    parts = [str(graph), str(tried.threads), str(tried.values), str(graph.parent / "model.json")]
    return float(_run([sys.executable, "-c", BARE_NCNN, *parts], graph.parent))


TOOLS: dict[str, tuple[str, Callable[[Tried, Path], float]]] = {
    "onnxruntime": ("bare loop", onnxruntime_ms),
    "openvino": ("benchmark_app", openvino_ms),
    "litert": ("litert-benchmark", litert_ms),
    "ncnn": ("bare loop", ncnn_ms),
}


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _run(command: Sequence[str], folder: Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


def compare(bench: Bench, tried: Tried, rounds: int) -> dict[str, object]:
    runtime = tried.variant.recipe.runtime
    tool, measure = TOOLS[runtime]
    graph = Path(tried.variant.folder) / tried.variant.files[0].path
    setting = Setting(runtime=runtime, provider=plain_provider(runtime), threads=tried.threads)
    which = Candidate(id=f"{tried.variant.name}@{tried.threads}", variant=tried.variant.name, setting=setting)
    tried = tried._replace(about_ms=block_ms(block_of(bench, which, 0)))
    ours, theirs, flags = [], [], set[str]()
    shuffler = np.random.default_rng(SEED)

    def block(number: int) -> None:
        made = block_of(bench, which, number)
        flags.update(made.flags)
        ours.append(block_ms(made))

    for number in range(1, rounds + 1):
        ways = [lambda number=number: block(number), lambda: theirs.append(measure(tried, graph))]
        for chosen in shuffler.permutation(len(ways)):
            ways[chosen]()
    ratio, low, high = hodges_lehmann([math.log(a / b) for a, b in zip(ours, theirs, strict=True)])
    return {
        "variant": tried.variant.name,
        "threads": tried.threads,
        "tool": tool,
        "block_ms": median(ours),
        "tool_ms": median(theirs),
        "ratio": math.exp(ratio),
        "low": None if low is None else math.exp(low),
        "high": None if high is None else math.exp(high),
        "rounds": rounds,
        "flags": sorted(flags),
    }


def row(found: dict[str, object]) -> str:
    """A line of docs/runtimes.md."""
    interval = "" if found["low"] is None else " ({low:.3f} to {high:.3f})".format(**found)
    return (
        "| {variant} | {threads} | {tool} | {block_ms:.3g} | {tool_ms:.3g} | {ratio:.3f}".format(**found)
        + f"{interval} |"
    )


def measure_model(model: Path, threads: Sequence[int], rounds: int, recipes: str) -> list[dict[str, object]]:
    name, values = example_input(model)
    print(
        f"\n{model.name}\n\n| variant | threads | its tool | block, ms | tool, ms | block over tool |\n|---|---|---|---|---|---|",
        flush=True,
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.npy"
        np.save(file, values)
        built = edgeopt.compile(
            model, out=Path(folder) / "out", recipes=recipes.split(","), budget="instant", samples="synthetic"
        )
        variants = [each for each in built.variants if isinstance(each, Built) and each.name != "original"]
        for each in built.variants:
            if not isinstance(each, Built):
                print(f"{each.name}: {each.reason}", file=sys.stderr)
        paths = {each.name: [Path(each.folder) / part.path for part in each.files] for each in variants}
        with board_with(paths, MeasurePlan(block_min_s=SECONDS), values) as bench:
            for each in variants:
                for count in threads:
                    found = compare(bench, Tried(each, count, name, file, 0.0), rounds)
                    results.append({"model": model.name} | found)
                    print(row(found), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, action="append", help="ONNX file with one float input (default: the example's)"
    )
    parser.add_argument("--threads", default="1", help="numbers of threads, with commas between")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--recipes", default=RECIPES)
    options = parser.parse_args()
    threads = [int(each) for each in options.threads.split(",")]
    results = [
        found
        for model in options.model or [EXAMPLE]
        for found in measure_model(model, threads, options.rounds, options.recipes)
    ]
    print(json.dumps({"native_tools": results}))


if __name__ == "__main__":
    main()
