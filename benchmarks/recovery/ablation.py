"""Does an objective beat plain mimicry? Recovery of pruned networks with each of them, over several seeds, judged on pictures that nothing saw.

    python benchmarks/recovery/ablation.py --work DIR [--data DIR] [--only NAME,..] [--arms NAME,..] [--seeds 3] [--steps N] [--rate X] [--jobs N] [--json FILE] [--docs docs/compression.md]

Trains on CUDA where there is a GPU (EDGEOPT_TORCH_DEVICE says otherwise). Labels only judge. What an arm gains on mimicry is told as the mean over seeds of the difference in agreement, pairwise by seed, with its standard error.
Pruned networks that the work folder lacks are made first (--prepare makes them and ends).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cases

ARMS: dict[str, dict[str, Any]] = {
    "mimic": {},
    "masked": {"objectives": ("masked",)},
    "nce": {"objectives": ("nce",)},
    "seed": {"objectives": ("seed",)},
    "multitask": {"objectives": ("masked", "nce", "seed", "multitask")},
    "affine": {"trainable": "affine"},
    "lora": {"trainable": "lora"},
}
BEGIN, END = "<!-- measured: benchmarks/recovery/ablation.py writes from here -->", "<!-- recovery to here -->"


def main() -> None:
    options = _options()
    names = options.only.split(",") if options.only else list(cases.NETWORKS)
    for name in names:
        if name != "parts" and not options.data.is_dir():
            raise SystemExit(f"{options.data}: no such folder; name the shared data with --data")
        cases.load(name, options.data, options.work)
    if options.prepare:
        return
    arms = options.arms.split(",") if options.arms else list(ARMS)
    jobs = [(n, a, s, options) for n in names for s in range(options.seeds) for a in arms]
    if options.jobs == 1:
        rows = [run(job) for job in jobs]
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(run, jobs))
    rows = [*untrained(names, options), *rows]
    print(written(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))
    if options.docs is not None:
        before, _, rest = options.docs.read_text().partition(BEGIN)
        options.docs.write_text(f"{before}{BEGIN}\n\n{written(rows)}\n{END}{rest.partition(END)[2]}")


def untrained(names: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The students as they came, and their originals' accuracy."""
    rows = []
    for name in names:
        case = cases.load(name, options.data, options.work)
        inputs, labels = case.judged()
        teacher, student = (cases.answers(model, inputs) for model in (case.teacher, case.student))
        original = cases.scores(teacher, teacher, labels)["top1"]
        rows.append(
            {
                "network": name,
                "arm": "untrained",
                "seed": 0,
                "original": original,
                "judged": len(labels),
                "learned": case.split,
                **cases.scores(teacher, student, labels),
            }
        )
    return rows


def run(job: tuple[str, str, int, argparse.Namespace]) -> dict[str, Any]:
    """One recovery, judged."""
    name, arm, seed, options = job
    from edgeopt.compiler.train.recover import Wishes, recover

    case = cases.load(name, options.data, options.work)
    steps = options.steps or case.steps
    rate = {} if options.rate is None else {"learning_rate": options.rate}
    wishes = Wishes(steps=steps, seed=seed, task="classification", **rate, **ARMS[arm])
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        made, notes = recover(case.student, case.teacher, case.samples(Path(folder)), wishes)
        seconds = time.monotonic() - began
    inputs, labels = case.judged()
    teacher, student = (cases.answers(model, inputs) for model in (case.teacher, made))
    row = {"network": name, "arm": arm, "seed": seed, "steps": steps, "seconds": round(seconds, 1), "notes": notes}
    row |= cases.scores(teacher, student, labels)
    print(json.dumps({key: row[key] for key in row if key != "notes"}), flush=True)
    return row


def written(rows: Sequence[dict[str, Any]]) -> str:
    """One table a network."""
    parts = []
    for name in dict.fromkeys(row["network"] for row in rows):
        mine = [row for row in rows if row["network"] == name]
        first = next(row for row in mine if row["arm"] == "untrained")
        trained = [row for row in mine if row["arm"] != "untrained"]
        steps, seeds = trained[0]["steps"], len({row["seed"] for row in trained})
        lines = [
            f"{name}: {steps} steps on {first['learned']} pictures without labels, judged on {first['judged']} others; the original has {first['original']:.3f} by labels; {seeds} seeds.",
            "",
            "| learns by | agreement | divergence | top-1 | gain in agreement on mimicry | s |",
            "|---|---|---|---|---|---|",
            f"| not trained | {first['agreement']:.3f} | {first['kl']:.3f} | {first['top1']:.3f} | | |",
        ]
        lines += [_line(arm, trained) for arm in dict.fromkeys(row["arm"] for row in trained)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(arm: str, rows: Sequence[dict[str, Any]]) -> str:
    mine = {row["seed"]: row for row in rows if row["arm"] == arm}
    base = {row["seed"]: row for row in rows if row["arm"] == "mimic"}
    mean = {key: statistics.fmean(row[key] for row in mine.values()) for key in ("agreement", "kl", "top1", "seconds")}
    gains = [mine[seed]["agreement"] - base[seed]["agreement"] for seed in mine if seed in base]
    gain = "" if arm == "mimic" or not gains else f"{statistics.fmean(gains):+.4f} ± {_error(gains):.4f}"
    return (
        f"| {arm} | {mean['agreement']:.3f} | {mean['kl']:.3f} | {mean['top1']:.3f} | {gain} | {mean['seconds']:.0f} |"
    )


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=cases.default_data())
    parser.add_argument("--only", help="networks, with commas between")
    parser.add_argument("--arms", help="ways to learn, with commas between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float, help="steps' size, as a share of the size of what learns")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
