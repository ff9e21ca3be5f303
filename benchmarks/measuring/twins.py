"""Two files of the same network under two names, measured again and again: are they ever told apart? They must not be.

    python benchmarks/measuring/twins.py [--runs 30] [--first-seed 0] [--threads 1] [--block-seconds 1] [--accept-disturbed]

The model is one that `clean` has nothing to do for but to drop a node that leads nowhere, which the runtime does by itself: `original` and `clean` differ in bytes and in nothing that runs. Every run is `edgeopt bench` with its
defaults. Told apart means: one was dropped, or said to be slower or faster for sure by more than the 2 % that count as a tie.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import onnx
from board import EXAMPLE

import edgeopt
from edgeopt.domain.pick import Summary

TIE = 0.02


def settled(work: Path) -> Path:
    """The example as `clean` leaves it, and a node that leads nowhere."""
    compiled = edgeopt.compile(EXAMPLE, out=work / "out", recipes=("clean",), samples="synthetic", device=None)
    made = next(v for v in compiled.variants if v.name == "clean")
    model = onnx.load(work / "out" / "clean" / made.files[0].path)
    model.graph.node.append(onnx.helper.make_node("Identity", [model.graph.input[0].name], ["nowhere"]))
    onnx.save(model, work / "twin.onnx")
    return work / "twin.onnx"


def told_apart(summary: Summary, dropped: bool) -> bool:
    low, high = summary.ratio_low, summary.ratio_high
    return dropped or (low is not None and low > 1 + TIE) or (high is not None and high < 1 - TIE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--block-seconds", type=float, default=1.0)
    parser.add_argument("--accept-disturbed", action="store_true")
    options = parser.parse_args()
    apart, excludes_one, seconds, statuses, rounds = 0, 0, [], Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEOPT_HOME"] = str(Path(folder) / "home")
        model = settled(Path(folder))
        for number in range(options.first_seed, options.first_seed + options.runs):
            outcome = edgeopt.bench(
                model,
                recipes=("clean",),
                runtimes=("onnxruntime",),
                threads=(options.threads,),
                seed=number,
                block_seconds=options.block_seconds,
                accept_disturbed=options.accept_disturbed,
                accept_synthetic=True,
            )
            twin = [each for each in outcome.pick.summaries if each.variant == "clean"]
            if not twin:
                sys.exit(f"there is no twin: {outcome.pick.losers}")
            apart += told_apart(twin[0], bool(outcome.run.dropped_early))
            excludes_one += bool(
                twin[0].ratio_low and twin[0].ratio_high and not twin[0].ratio_low <= 1 <= twin[0].ratio_high
            )
            statuses[f"{outcome.pick.status} {outcome.pick.variant}"] += 1
            rounds.append(1 + max(block.round for block in outcome.run.blocks))
            seconds.append(sum((block.wall_ns or 0) / 1e9 for block in outcome.run.blocks))
            print(
                number,
                outcome.pick.status,
                outcome.pick.variant,
                twin[0].verdict,
                twin[0].ratio,
                twin[0].ratio_low,
                twin[0].ratio_high,
                rounds[-1],
                flush=True,
            )
    result = {
        "runs": options.runs,
        "told_apart": apart,
        "interval_excludes_1": excludes_one,
        "outcomes": statuses,
        "rounds": sorted(rounds),
        "block_seconds": round(sum(seconds), 1),
    }
    print(json.dumps({"twins": result}))


if __name__ == "__main__":
    main()
