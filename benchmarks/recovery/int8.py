"""What does training with the rounding in it bring beside calibration alone? The recipe `int8-trained` beside `int8-static`, on pictures that neither saw.

    python benchmarks/recovery/int8.py --work DIR [--only resnet8,mobilenet] [--seeds 3] [--steps N] [--rate X] [--trainable all] [--encoding u8s8] [--worth 0] [--json FILE]

For each seed other pictures calibrate and are learned from (half of ResNet-8's thousand, 400 of MobileNet's five hundred), and the rest are scored, by ONNX Runtime's int8 kernels. Labels only score.
What it gains is told as the mean over seeds of the difference, pairwise by seed, with its standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

REPOSITORY = Path(__file__).resolve().parents[2]
# Behind this folder, which has a `cases` as well.
sys.path += [str(REPOSITORY / "benchmarks" / "pruning"), str(REPOSITORY / "benchmarks" / "compression")]

import cases  # noqa: E402
import networks  # noqa: E402

from edgeopt.compiler.quantize.budgets import BUDGETS  # noqa: E402
from edgeopt.compiler.quantize.emit import emit  # noqa: E402
from edgeopt.compiler.quantize.encoding import ENCODINGS  # noqa: E402
from edgeopt.compiler.quantize.ladder import calibrate, settled, sqnr_db  # noqa: E402
from edgeopt.compiler.quantize.observe import answers  # noqa: E402
from edgeopt.compiler.quantize.saved import Calibrated  # noqa: E402
from edgeopt.compiler.running import Feeds  # noqa: E402
from edgeopt.compiler.steps import STEPS, Bench  # noqa: E402
from edgeopt.compiler.train import int8  # noqa: E402
from edgeopt.compiler.train.recover import Wishes  # noqa: E402

LEARNED = {"resnet8": 500, "mobilenet": 400, "squeezenet": 400, "parts": 300}
FIGURES = ("agreement", "db", "kl", "top1")


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    int8.WORTH = options.worth
    found = networks.find_networks(options.work)
    rows = []
    for name in options.only.split(","):
        network = found[name]()
        for seed in range(options.first, options.first + options.seeds):
            rows += one(name, network, seed, options)
            for row in rows[-2:]:
                print(json.dumps(row), flush=True)
    print(written(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


def one(name: str, network: networks.Network, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both networks of a seed, scored."""
    order = np.random.default_rng(seed).permutation(len(network.labels))
    learned, rest = order[: LEARNED[name]], order[LEARNED[name] :]
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        model, feeds = _prepared(network, learned, Path(place))
        found, trained, more = _trained(model, feeds, seed, Path(place), options)
    unseen = [dict(zip(feeds.names, (network.inputs[k],), strict=True)) for k in rest]
    labels = network.labels[rest]
    truth = answers(found.network.graph.model, unseen, fused=False)
    rows = []
    for arm, each, beside in (("int8-static", found, {}), ("int8-trained", trained, more)):
        got = answers(emit(each.network, ENCODINGS[options.encoding]), unseen, fused=True)
        one_by_one = [np.concatenate([a[0].reshape(1, -1) for a in made]) for made in (truth, got)]
        figures = cases.scores(*one_by_one, labels) | {"db": sqnr_db(truth, got)}
        original = float((one_by_one[0].argmax(1) == labels).mean())
        rows.append({"network": name, "seed": seed, "arm": arm, "original": original, **figures, **beside})
    return rows


def _prepared(network: networks.Network, learned: Any, folder: Path) -> tuple[Any, Feeds]:
    """The tidy model, and what it learns from."""
    bench = Bench(source=network.model, scratch=folder, samples=None, max_opset=21, max_ir_version=10)
    model = onnx.load(network.model)
    for step, how in (("clean", {}), ("float32", {}), ("upgrade_opset", {"at_least": 13})):
        model = STEPS[step](model, how, bench)
    path = folder / "samples.npz"
    np.savez(path, **{f"s{i}.0": network.inputs[k] for i, k in enumerate(learned)})
    return model, Feeds(path, (model.graph.input[0].name,), len(learned))


def _trained(
    model: Any, feeds: Feeds, seed: int, folder: Path, options: argparse.Namespace
) -> tuple[Calibrated, Calibrated, dict[str, Any]]:
    """Calibrated; trained; how long the latter took, and what it says."""
    encoding, budget = ENCODINGS[options.encoding], BUDGETS["standard"]
    found = calibrate(model, feeds, encoding=encoding, float_first=0, budget=budget)
    found = settled(found, feeds, encoding=encoding, arm=None, budget=budget, scratch=folder)
    wishes = Wishes(
        steps=options.steps,
        task="classification",
        seed=seed,
        trainable=options.trainable,
        learning_rate=options.rate or int8.LEARNING_RATE,
    )
    began = time.monotonic()
    trained, notes = int8.train_int8(found, feeds, wishes)
    return found, trained, {"s": round(time.monotonic() - began), "notes": notes}


def written(rows: list[dict[str, Any]]) -> str:
    """Means of both, and what training gains, a row each."""
    lines = ["| | agreement | dB | divergence, nats | top-1 |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row["network"] for row in rows):
        arms = {
            arm: [row for row in rows if row["network"] == name and row["arm"] == arm]
            for arm in ("int8-static", "int8-trained")
        }
        for arm, own in arms.items():
            lines.append(f"| {name}, {arm} | " + " | ".join(f"{_mean(own, figure):.4g}" for figure in FIGURES) + " |")
        gains = []
        for figure in FIGURES:
            differences = [b[figure] - a[figure] for a, b in zip(*arms.values(), strict=True)]
            error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
            gains.append(f"{statistics.mean(differences):+.4f} ± {error:.4f}")
        lines.append(f"| {name}, gained | " + " | ".join(gains) + " |")
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]], figure: str) -> float:
    return statistics.mean(row[figure] for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", default="resnet8,mobilenet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--trainable", default="all")
    parser.add_argument("--encoding", default="u8s8")
    parser.add_argument(
        "--worth", type=float, default=0.0, help="see WORTH in train/int8.py; 0 keeps whatever is nearer"
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
