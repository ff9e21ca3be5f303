"""Pruning without labels: latency against accuracy, beside magnitude pruning with the same compensation and beside int8. One command.

    python benchmarks/pruning/curve.py [--work DIR] [--only NAME,..] [--folds N] [--recipes NAME,..] [--recover] [--json FILE] [--docs docs/compression.md]

Each fold calibrates on one part of the pictures and is scored by labels on the others, of classes (SqueezeNet, MobileNet: one picture a class) that nothing was fitted to. Labels choose nothing. Latency is the ratio to the
file as given in ONNX Runtime on this computer with one thread, interleaved (see compression/timing.py). What was built stays in the work folder. Needs the shared test data (EDGEOPT_TESTDATA).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compression"))

from labelled import REPOSITORY
from networks import Network, find_networks
from pruning_table import Point, Result, printed, write_docs
from timing import measure

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import Planned, plan_variants
from edgeopt.compiler.running import open_runner
from edgeopt.domain.variant import Built, Variant
from edgeopt.profiles.load import load_profile
from edgeopt.samples.record import make_samples

Array = np.ndarray[Any, np.dtype[Any]]


def main() -> None:
    options = _options()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    networks = [
        make
        for name, make in find_networks(options.work).items()
        if not options.only or name in options.only.split(",")
    ]
    if not networks:
        sys.exit("nothing was measured: no shared test data (set EDGEOPT_TESTDATA), or no network of that name")
    results = [_curve(make(), options) for make in networks]
    print(printed(results))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    if options.docs is not None:
        write_docs(options.docs, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "pruning", help="built files stay there")
    parser.add_argument("--only", help="names of networks, with commas")
    parser.add_argument(
        "--folds", type=int, default=1, help="parts of the pictures that are scored in turn (default 1)"
    )
    parser.add_argument("--first-fold", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--recipes", help="other recipes than the network's, with commas")
    parser.add_argument("--budget", default="standard", choices=("instant", "standard", "deep"))
    parser.add_argument("--recover", action="store_true", help="with the recipes that train what was pruned as well")
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument("--docs", type=Path, help="write these networks' tables between its marks")
    return parser.parse_args()


def _curve(network: Network, options: argparse.Namespace) -> Result:
    print(network.title, flush=True)
    points = [
        point
        for fold in range(options.first_fold, options.first_fold + options.folds)
        for point in _fold(network, fold, options)
    ]
    held = len(network.inputs) - network.calibration
    return Result(title=network.title, calibrated=network.calibration, scored=held, folds=options.folds, points=points)


def _fold(network: Network, fold: int, options: argparse.Namespace) -> list[Point]:
    """The fold's own pictures are scored, everything is fitted to the next ones of a shuffled row; when all were scored once, they are shuffled anew."""
    place = options.work / network.name / str(fold)
    place.mkdir(parents=True, exist_ok=True)
    held = len(network.inputs) - network.calibration
    shuffled, part = divmod(fold, len(network.inputs) // held)
    order = np.roll(np.random.default_rng(shuffled).permutation(len(network.inputs)), -part * held)
    judged, fitted = order[:held], order[held:]
    built = _build(network, fitted, place, options)
    shutil.copyfile(network.model, place / "original.onnx")
    files = {"original": place / "original.onnx"} | {
        name: Path(variant.folder) / variant.files[0].path
        for name, variant in built.items()
        if isinstance(variant, Built)
    }
    name = inspect_model(network.model).inputs[0].name
    np.save(place / "sample.npy", network.inputs[judged[0]])
    times = measure(list(files.values()), place / "sample.npy", name, threads=1, work=place)
    scores = {title: _scores(file, name, network.inputs[judged]) for title, file in files.items()}
    answers = {title: np.array([int(np.argmax(row)) for row in rows]) for title, rows in scores.items()}
    foretold = {title: _foretold(scores["original"], rows) for title, rows in scores.items()}
    truth, theirs = network.labels[judged], answers["original"]
    points = [
        Point(
            fold=fold,
            title=title,
            ratio=time.ratio,
            agreement=float((answers[title] == theirs).mean()),
            top1=float((answers[title] == truth).mean()),
            expected=foretold[title][0],
            certified=foretold[title][1],
            lost=[int(x) for x in (theirs == truth).astype(int) - (answers[title] == truth).astype(int)],
            build_s=0.0 if title == "original" else built[title].build_s,
            notes=() if title == "original" else built[title].notes,
        )
        for title, time in zip(files, times, strict=True)
    ]
    refused = [v for v in built.values() if not isinstance(v, Built)]
    return points + [Point(fold=fold, title=variant.name, reason=variant.reason) for variant in refused]


def _build(network: Network, fitted: Array, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Through the product's own way. Magnitude pruning is the same recipe with another score."""
    info, profile = inspect_model(network.model), load_profile("generic-x86_64")
    installed = {"torch": version("torch")} if options.recover else {"torch": "is not used"}
    planned = plan_variants(
        info,
        profile,
        recipes=tuple(options.recipes.split(",")) if options.recipes else network.recipes,
        has_samples=True,
        budget=options.budget,
        installed=installed,
    )
    wanted = [plan for plan in planned if isinstance(plan, Planned) and plan.name != "original"]
    groups = [[_changed(plan, "pruned", train=False) for plan in wanted]]
    groups.append([_changed(p, "magnitude", train=False, score="magnitude") for p in wanted if p.name[-2:].isdigit()])
    if options.recover:
        groups.append([_changed(plan, "recovered") for plan in wanted if plan.name.startswith("pruned")])
    samples = make_samples([info.inputs[0].name], [[row] for row in network.inputs[fitted]], source=network.title)
    made: list[Variant] = []
    for group in groups:
        with ThreadPoolExecutor(1) as executor:
            made += build_variants(
                group,
                model_path=network.model,
                model=info,
                calibration=samples,
                cache=place / "cache",
                executor=executor,
            )
    return {variant.name: variant for variant in made}


def _changed(plan: Planned, called: str, *, train: bool = True, score: str = "answers") -> Planned:
    """A planned recipe under another name, without its training, or with channels chosen otherwise."""
    steps = tuple(
        msgspec.structs.replace(step, options=step.options | {"score": score}) if step.name == "prune" else step
        for step in plan.recipe.steps
        if train or step.name != "recover"
    )
    name = plan.name.replace("pruned", called)
    return msgspec.structs.replace(plan, name=name, recipe=msgspec.structs.replace(plan.recipe, name=name, steps=steps))


def _scores(file: Path, name: str, inputs: Array) -> list[Array]:
    run, _ = open_runner(file)
    return [run({name: row})[0] for row in inputs]


def _foretold(theirs: list[Array], ours: list[Array]) -> tuple[float | None, float | None]:
    """(expected, certified) drop of accuracy as the product tells them, without labels."""
    found = compare([[row] for row in theirs], [[row] for row in ours], task="classification", where="host")
    return found.expected_drop, None if found.agreement_lower is None else 1.0 - found.agreement_lower


if __name__ == "__main__":
    main()
