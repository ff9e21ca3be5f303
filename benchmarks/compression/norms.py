"""What is fitting drawn pictures to a network's batch norms worth, as calibration? For an ONNX file that still has them.

    python benchmarks/compression/norms.py FOLDER --pictures PICTURES [--seeds 3] [--count 100] [--json FILE]

FOLDER has an edgeopt.toml with `model` and `[preprocess]`. PICTURES are of the network's own kind, for each seed some that calibrate and others that are scored: `int8-static` (standard budget) calibrated on so many of them, on drawn
ones, on the same ones fitted, and on noise. Scored are the signal to noise ratio of all answers and, of classifiers, the same best class. The fit's own distances are told. Needs edgeopt[torch].
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.fit_pictures import fit_pictures
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import Planned, plan_variants
from edgeopt.compiler.runtime import open_session
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Built
from edgeopt.profiles.config import ProjectConfig, load_config
from edgeopt.profiles.load import load_profile
from edgeopt.profiles.places import find_places
from edgeopt.samples.invent import invent_samples
from edgeopt.samples.read import load_samples
from edgeopt.samples.record import Samples, make_samples, split

Array = np.ndarray[Any, np.dtype[Any]]
SCORED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = load_config(options.folder / "edgeopt.toml")
    rows = [row for seed in range(options.seeds) for row in _rows(config, options, seed)]
    print(_table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


def _rows(config: ProjectConfig, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    path = options.folder / str(config.model)
    info = inspect_model(path)
    everything = load_samples(
        str(options.pictures.absolute()),
        base=Path.cwd(),
        preprocess=config.preprocess,
        model=info,
        limit=options.count + SCORED,
        shapes=config.shapes,
    )
    real, scored = split(everything, seed=seed, calibration=options.count)
    drawn = invent_samples(info, options.count, seed, preprocess=config.preprocess, shapes=config.shapes)
    fitted, fit = fit_pictures(path, info, drawn, find_places().cache, lambda _: None)
    print(f"seed {seed}: {fit}", flush=True)
    given = {"pictures": real, "drawn": drawn, "fitted": fitted, "noise": _noise(drawn, seed)}
    before, rows = _answers(path, scored), []
    for name, samples in given.items():
        after = _answers(_built(path, info, samples), scored)
        signal, noise = (sum(float((each**2).sum()) for each in all_) for all_ in (before, _differences(before, after)))
        same = [np.argmax(a) == np.argmax(b) for a, b in zip(before, after, strict=True)]
        rows.append(
            {
                "seed": seed,
                "calibrated on": name,
                "db": 10 * np.log10(signal / noise),
                "same": float(np.mean(same)) if info.task == "classification" else None,
                "scored": len(scored),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _noise(samples: Samples, seed: int) -> Samples:
    """As many, uniform over the range of the pixels."""
    arrays = [row[0] for row in samples.arrays]
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    random = np.random.default_rng(seed)
    return make_samples(
        samples.names, [[random.uniform(low, high, a.shape).astype(a.dtype)] for a in arrays], source="noise"
    )


def _built(path: Path, info: ModelInfo, samples: Samples) -> Path:
    """The file of `int8-static`, calibrated on all of the samples."""
    planned = plan_variants(info, load_profile("generic-x86_64"), recipes=("int8-static",), has_samples=True)
    wanted = [plan for plan in planned if isinstance(plan, Planned)]
    made = build_variants(wanted, model_path=path, model=info, calibration=samples, cache=find_places().cache)
    (variant,) = [each for each in made if each.name == "int8-static"]
    if not isinstance(variant, Built):
        sys.exit(f"{variant.name}: {variant.reason}")
    return Path(variant.folder) / variant.files[0].path


def _answers(path: Path, samples: Samples) -> list[Array]:
    """All outputs of each sample in one row."""
    session = open_session(path.read_bytes())
    return [
        np.concatenate([np.ravel(out).astype(np.float64) for out in session.run(None, feed)])
        for feed in samples.feeds()
    ]


def _differences(before: Sequence[Array], after: Sequence[Array]) -> list[Array]:
    return [a - b for a, b in zip(before, after, strict=True)]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| calibrated on | SQNR dB (each seed) | same best class |", "|---|---|---|"]
    for name in dict.fromkeys(row["calibrated on"] for row in rows):
        mine = [row for row in rows if row["calibrated on"] == name]
        each = ", ".join(f"{row['db']:.1f}" for row in mine)
        same = [row["same"] for row in mine if row["same"] is not None]
        agree = f"{statistics.fmean(same):.4f}" if same else ""
        lines.append(f"| {name} | {statistics.fmean(row['db'] for row in mine):.1f} ({each}) | {agree} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
