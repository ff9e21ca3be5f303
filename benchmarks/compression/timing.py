"""Latency of many files over that of the first one: interleaved in one process, ratios within rounds, medians over rounds.

`python timing.py ORDER.json` is the child: {"files": [..], "sample", "input", "threads", "rounds", "answer"}; `sample` is an `.npy` file for the one input, or an `.npz` file with all of them. In each round every file runs in random order, in a burst: after
a pause, in which the other sessions' threads stop spinning, one run that does not count and then several that do. Sessions are as the runtime opens them by default, but for the
number of threads.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

SECONDS = 12.0
"""For all rounds of one file, within the bounds below."""
LEAST_ROUNDS, MOST_ROUNDS = 15, 60
BURST_S, LEAST_BURST, MOST_BURST = 0.02, 3, 20
PAUSE_S = 0.03
SEED = 1


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Median milliseconds of one inference, and the ratio to the first file's in the same round: median and quartiles over `rounds`."""

    threads: int
    milliseconds: float
    ratio: float
    ratio_q1: float
    ratio_q3: float
    rounds: int


def measure(files: list[Path], sample: Path, name: str, *, threads: int, work: Path) -> list[Latency]:
    """Time files in a child; the first one is what others are told over."""
    order, answer = work / "timing-order.json", work / "timing-answer.json"
    asked = {"files": [str(f) for f in files], "sample": str(sample), "input": name, "threads": threads}
    order.write_text(json.dumps(asked | {"answer": str(answer)}))
    subprocess.run([sys.executable, __file__, str(order)], check=True)
    return msgspec.json.decode(answer.read_bytes(), type=list[Latency])


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    sample = np.load(order["sample"])
    feed = {order["input"]: sample} if isinstance(sample, np.ndarray) else dict(sample)
    sessions = [_session(path, order["threads"]) for path in order["files"]]
    first = [_burst(session, feed, LEAST_BURST) for session in sessions]
    bursts = [max(LEAST_BURST, min(MOST_BURST, round(BURST_S / seconds))) for seconds in first]
    each = sum(s * (b + 1) + PAUSE_S for s, b in zip(first, bursts, strict=True)) / len(sessions)
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, round(SECONDS / each)))
    seen: list[list[float]] = [[] for _ in sessions]
    chooser = random.Random(SEED)  # noqa: S311 - an order, no secret
    for _ in range(rounds):
        for i in chooser.sample(range(len(sessions)), len(sessions)):
            seen[i].append(_burst(sessions[i], feed, bursts[i]))
    made = [_told(seconds, seen[0], order["threads"]) for seconds in seen]
    Path(order["answer"]).write_bytes(msgspec.json.encode(made))


def _session(path: str, threads: int) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _burst(session: Any, feed: dict[str, Any], runs: int) -> float:
    """Median seconds of one run."""
    time.sleep(PAUSE_S)
    session.run(None, feed)
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _told(seconds: list[float], first: list[float], threads: int) -> Latency:
    ratios = [a / b for a, b in zip(seconds, first, strict=True)]
    q1, middle, q3 = statistics.quantiles(ratios, n=4)
    return Latency(
        threads=threads,
        milliseconds=1000 * statistics.median(seconds),
        ratio=middle,
        ratio_q1=q1,
        ratio_q3=q3,
        rounds=len(ratios),
    )


if __name__ == "__main__":
    main()
