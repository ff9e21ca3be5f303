"""What should calibrate a masked language model: texts of its kind, texts drawn from its own predictions, or words in a row?

    python benchmarks/text/masked.py FOLDER TEXTS [--seeds 3] [--calibration 100] [--scored 200] [--recipes int8-static,int8-dynamic] [--json FILE]

FOLDER is a Hugging Face folder of a masked language model (BertForMaskedLM), TEXTS a file with a text a line. For each seed some texts calibrate, and others are scored: three of twenty tokens are masked, and at those
the original and each variant are compared: the same best token, divergence, and how often it is the one that was masked. What is drawn is drawn by the product (`samples = "synthetic"`); words in a row are those of the texts, each as likely.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from building import build, feed_of, file_of, session_of
from scipy.special import softmax

from edgeopt.compiler.tokenize import tokenize

MASKED = 3 / 20
ARMS = ("texts", "drawn", "words in a row")
Array = np.ndarray[Any, np.dtype[Any]]


def main() -> None:
    options = _options()
    texts = list(dict.fromkeys(options.texts.read_text(encoding="utf-8").splitlines()))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        for seed in range(options.seeds):
            order = np.random.default_rng(seed).permutation(len(texts))
            mixed = [texts[index] for index in order]
            # Half of what is given judges, so twice as many as calibrate are given.
            given, scored = mixed[: 2 * options.calibration], mixed[2 * options.calibration :][: options.scored]
            for arm in ARMS:
                rows += _rows(arm, given, scored, seed, options, Path(work))
    print(_table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=100)
    parser.add_argument("--scored", type=int, default=200)
    parser.add_argument("--recipes", default="int8-static,int8-dynamic")
    parser.add_argument("--json", type=Path, help="write every result there")
    return parser.parse_args()


def _rows(
    arm: str, given: Sequence[str], scored: Sequence[str], seed: int, options: argparse.Namespace, work: Path
) -> list[dict[str, Any]]:
    """Each variant of one seed and one way to calibrate."""
    recipes = ["original", *options.recipes.split(",")]
    source = {"texts": given, "drawn": None, "words in a row": _in_a_row(given, seed)}[arm]
    place = work / f"{seed}-{ARMS.index(arm)}"
    built = build(options.folder, source, place, recipes=recipes, calibration=options.calibration, seed=seed)
    tokens = [each["tokens"] for each in tokenize(options.folder, [[text] for text in scored], None)[0]]
    damaged = _damaged(options.folder, tokens, seed)
    answers = {variant.name: _answers(file_of(variant), damaged) for variant in built}
    hidden = np.concatenate([ids[places] for ids, (_, places) in zip(tokens, damaged, strict=True)])
    rows = []
    for name, found in answers.items():
        theirs = answers["original"]
        row = {
            "arm": arm,
            "seed": seed,
            "name": name,
            "agreement": float((found.argmax(1) == theirs.argmax(1)).mean()),
            "divergence": float((theirs * (np.log(theirs + 1e-12) - np.log(found + 1e-12))).sum(1).mean()),
            "right": float((found.argmax(1) == hidden).mean()),
            "places": len(hidden),
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def _in_a_row(texts: Sequence[str], seed: int) -> list[str]:
    """As many words in each text, any of all."""
    random = np.random.default_rng([seed, 1])
    words = sorted({word for text in texts for word in text.split()})
    return [" ".join(random.choice(words, len(text.split()))) for text in texts]


def _damaged(folder: Path, tokens: Sequence[Array], seed: int) -> list[tuple[Array, Array]]:
    """Each text with some of its tokens masked, and where; never the first and the last, which are no words."""
    random = np.random.default_rng([seed, 2])
    mask = int(tokenize(folder, [["[MASK]"]], None)[0][0]["tokens"][1])
    made = []
    for ids in tokens:
        places = np.sort(random.choice(np.arange(1, len(ids) - 1), max(1, round(MASKED * (len(ids) - 2))), False))
        damaged = np.array(ids, np.int64)
        damaged[places] = mask
        made.append((damaged, places))
    return made


def _answers(path: Path, damaged: Sequence[tuple[Array, Array]]) -> Array:
    """Distributions [masked tokens, V], one text at a time."""
    session = session_of(path)
    return np.concatenate(
        [softmax(session.run(None, feed_of(ids))[0][0, places].astype(np.float64), axis=1) for ids, places in damaged]
    )


def _table(rows: Sequence[dict[str, Any]]) -> str:
    seeds = len({row["seed"] for row in rows})
    places = min(row["places"] for row in rows)
    lines = [
        f"{seeds} seeds, {places} masked tokens each at least; ± is the standard error over seeds.",
        "",
        "| variant | calibrated on | same best token | divergence, nats | right |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        for arm in ARMS if name != "original" else ARMS[:1]:
            mine = [row for row in rows if (row["name"], row["arm"]) == (name, arm)]
            same, far, right = ([row[key] for row in mine] for key in ("agreement", "divergence", "right"))
            words = "" if name == "original" else arm
            lines.append(f"| {name} | {words} | {_told(same, 4)} | {_told(far, 5)} | {statistics.fmean(right):.3f} |")
    return "\n".join(lines) + "\n"


def _told(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2 or not any(value != values[0] for value in values):
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"


if __name__ == "__main__":
    main()
