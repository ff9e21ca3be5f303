"""Our compiler against its peers on real models: faithfulness, latency, coverage, cost. One command.

    python benchmarks/compression/run.py [--nncf-python PYTHON] [--work DIR] [--only CASE,..] [--json FILE] [--docs docs/compression.md]

Files that were built stay in the work folder. `--timing-only` builds and scores nothing: it takes what lies there and times it again, which is for a quiet moment. With
`--no-timing` as well, the tables are made of what is known.
Latencies are ratios to the file as given, in ONNX Runtime on this computer, interleaved (see timing.py). Needs the shared test data (EDGEOPT_TESTDATA).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np
from cases import Case, find_cases
from contenders import LEGALISED, ORIGINAL, OURS, PEERS, Room, interpreters, make_all
from labelled import REPOSITORY
from scoring import Row, score
from table import CaseResult, printed, write_docs
from timing import Latency, measure

from edgeopt.compiler.model_info import inspect_model
from edgeopt.samples.record import Samples, make_samples

TITLES = [ORIGINAL, *OURS, *PEERS, *LEGALISED]
THREADS = (1, 2)
TIMED_SEED = 0


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    cases = [case for case in find_cases(options.work) if not options.only or case.name in options.only.split(",")]
    if not cases:
        sys.exit("nothing was measured: no shared test data (set EDGEOPT_TESTDATA), or no case of that name")
    python = {} if options.timing_only else interpreters(options.nncf_python)
    if not options.timing_only and "nncf" not in python:
        print("NNCF is left out: it cannot be imported (name an interpreter that has it with --nncf-python)")
    results = [result for case in cases if (result := _case(case, options, python)).rows]
    print(printed(results))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    if options.docs is not None:
        write_docs(options.docs, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "peers", help="built files stay there")
    parser.add_argument("--only", help="names of cases, with commas")
    parser.add_argument("--seeds", type=int, default=3, help="splits at most (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--nncf-python", help="an interpreter that has nncf, onnx and onnxruntime")
    parser.add_argument("--timing-only", action="store_true", help="time again what the work folder has")
    parser.add_argument("--no-timing", action="store_true", help="keep the latencies of the last time")
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument("--docs", type=Path, help="write these cases' tables between its marks")
    return parser.parse_args()


def _case(case: Case, options: argparse.Namespace, python: dict[str, str]) -> CaseResult:
    print(case.title, flush=True)
    folder = options.work / case.name
    kept = folder / "rows.json"
    if options.timing_only:
        known = msgspec.json.decode(kept.read_bytes(), type=list[Row]) if kept.is_file() else []
        rows = [row for row in known if row.made.title in TITLES]
    else:
        rows = [row for seed in _seeds(case, options) for row in _split(case, seed, folder, python)]
        kept.write_bytes(msgspec.json.encode(rows))
    times = folder / "latencies.json"
    if rows and not options.no_timing:
        times.write_bytes(msgspec.json.encode(_time(folder, rows)))
    known_times = times.read_bytes() if times.is_file() else b"{}"
    latencies = msgspec.json.decode(known_times, type=dict[str, list[Latency]])
    return CaseResult(
        name=case.name,
        title=case.title,
        calibrated=case.calibrated,
        scored=case.scored,
        target=case.target,
        rows=rows,
        latencies=latencies,
    )


def _seeds(case: Case, options: argparse.Namespace) -> range:
    return range(options.first_seed, min(options.first_seed + options.seeds, case.seeds))


def _split(case: Case, seed: int, folder: Path, python: dict[str, str]) -> list[Row]:
    info = inspect_model(case.model)
    calibration, held = case.divide(seed)
    place = folder / str(seed)
    room = Room(
        folder=place,
        model=case.model,
        info=info,
        calibration=_samples(info.inputs[0].name, calibration, case.calibrated),
        python=python,
    )
    made = make_all(room, TITLES)
    np.save(place / "sample.npy", held[0])
    (place / "input.txt").write_text(info.inputs[0].name)
    return score(made, place, info, _samples(info.inputs[0].name, held, case.scored), case.task, seed)


def _samples(name: str, rows: list[np.ndarray], source: str) -> Samples:
    return make_samples([name], [[row] for row in rows], source=source)


def _time(folder: Path, rows: list[Row]) -> dict[str, list[Latency]]:
    """By title, one for each number of threads; the files of one split."""
    place = folder / str(TIMED_SEED)
    timed = [row for row in rows if row.seed == TIMED_SEED and row.made.file is not None]
    files = [place / row.made.file for row in timed if row.made.file is not None]
    name = (place / "input.txt").read_text()
    by_threads = [measure(files, place / "sample.npy", name, threads=t, work=place) for t in THREADS]
    return {row.made.title: [column[i] for column in by_threads] for i, row in enumerate(timed)}


if __name__ == "__main__":
    main()
