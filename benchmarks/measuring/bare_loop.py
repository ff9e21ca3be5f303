"""Does a block measure what a bare loop over ONNX Runtime measures? Same model, same threads, alternating in one run.

    python benchmarks/measuring/bare_loop.py [--model FILE ...] [--threads 1,2] [--rounds 12]

A bare loop is a fresh process that opens a session with so many threads, warms up for 0.2 s, runs for a second and takes the median of its own clock readings; so does a
block, through the agent. Each round runs both in random order; the ratio is the Hodges-Lehmann level of the rounds' with its 95 % interval. Also what the clock itself costs.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from board import EXAMPLE, board, example_input, timed_block

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.blocks import block_ms
from edgeopt.select.statistics import hodges_lehmann, median

BARE = """
import sys, time, numpy, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
options.log_severity_level = 3
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = {sys.argv[2]: numpy.load(sys.argv[4])}
def loop(seconds, least):
    times, begin = [], time.perf_counter_ns()
    while len(times) < least or time.perf_counter_ns() - begin < seconds * 1e9:
        start = time.perf_counter_ns()
        session.run(None, feed)
        times.append(time.perf_counter_ns() - start)
    return times
loop(0.2, 3)
times = sorted(loop(1.0, 20))
print(times[len(times) // 2] / 1e6)
"""
"""Deliberately what anybody would write."""


def bare_ms(model: Path, name: str, values: Path, threads: int) -> float:
    command = [sys.executable, "-c", BARE, str(model), name, str(threads), str(values)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def clock_ns(pairs: int = 10_000) -> float:
    """Median cost of two readings of the clock with nothing between them."""
    clock = time.perf_counter_ns
    costs = []
    for _ in range(pairs):
        start = clock()
        costs.append(clock() - start)
    return median(costs)


def compare(model: Path, threads: int, rounds: int) -> dict[str, object]:
    name, values = example_input(model)
    plan = MeasurePlan(block_min_s=1.0)
    with tempfile.NamedTemporaryFile(suffix=".npy") as file, board(model, plan, values) as bench:
        np.save(file.name, values)
        ours, theirs = [], []
        shuffler = np.random.default_rng(0)
        for number in range(rounds):
            ways = [
                lambda number=number: ours.append(block_ms(timed_block(bench, threads, number))),
                lambda: theirs.append(bare_ms(model, name, Path(file.name), threads)),
            ]
            for chosen in shuffler.permutation(len(ways)):
                ways[chosen]()
    ratio, low, high = hodges_lehmann([math.log(a / b) for a, b in zip(ours, theirs, strict=True)])
    return {
        "model": model.name,
        "threads": threads,
        "block_ms": median(ours),
        "bare_ms": median(theirs),
        "ratio": math.exp(ratio),
        "low": None if low is None else math.exp(low),
        "high": None if high is None else math.exp(high),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, action="append", help="ONNX file with one float input (default: the example's)"
    )
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    print(f"two readings of the clock: {clock_ns():.0f} ns")
    results = []
    for model in options.model or [EXAMPLE]:
        for threads in map(int, options.threads.split(",")):
            found = compare(model, threads, options.rounds)
            results.append(found)
            print(
                "{model}, {threads} threads: block {block_ms:.4g} ms, bare loop {bare_ms:.4g} ms, ratio {ratio:.4f} [{low:.4f} .. {high:.4f}]".format(
                    **found
                ),
                flush=True,
            )
    print(json.dumps({"bare_loop": results}))


if __name__ == "__main__":
    main()
