"""Label-free estimate against truth: does the certified drop hold, and how far is the expected one off?

    python benchmarks/compression/estimate.py [--samples 300] [--draws 10] [--cache build/estimate] [--json FILE]

A case is a (model, variant, draw). The population is every labelled picture that calibration did not see; a draw takes `samples` of them independently (with
replacement, so that the population's own accuracy is the exact truth of the draw's distribution) and scores the variant with `edgeopt.compiler.fidelity.compare`,
which sees no label. The truth is the drop of accuracy over the whole population, by its labels. Answers are computed once per variant and kept in the cache.

A population of N labelled pictures is itself a sample: the standard error of its drop, sd(right_T - right_S) / sqrt(N), is printed as `noise`. No estimator that
sees no labels can be closer than about 0.67 of it in the median. So figures are told with it, by how much the variants agree, and as what of the root mean
square error is more than this noise, `beyond` = sqrt(mean(error^2 - noise^2)).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import labelled
import msgspec
import numpy as np
from answers import answers

from edgeopt.compiler.fidelity import compare

Array = np.ndarray[Any, np.dtype[Any]]
SEED = 2026


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One scored draw. All but names are shares of samples; `true_drop` and `disagreement` are of the population, `noise` is the standard error of `true_drop`.

    `drawn_drop` is the drop by the labels of the draw itself.
    """

    model: str
    variant: str
    draw: int
    agreement: float
    certified: float
    expected: float
    low: float
    high: float
    true_drop: float
    drawn_drop: float
    disagreement: float
    noise: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Over many cases; errors and noise in points of accuracy, others are shares of cases.

    `distribution_holds`: the bound is above the population's disagreement, which is what it is a bound of; 95 % is what it promises.
    """

    cases: int
    variants: int
    bound_holds: float
    distribution_holds: float
    median_error: float
    p90_error: float
    median_bias: float
    median_error_same_samples: float
    interval_holds: float
    median_noise: float
    rms_beyond_noise: float
    interval_holds_same_samples: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300, help="held-out samples of a draw (default 300)")
    parser.add_argument("--draws", type=int, default=10, help="draws of each variant (default 10)")
    parser.add_argument("--cache", type=Path, default=labelled.REPOSITORY / "build" / "estimate")
    parser.add_argument("--json", type=Path, help="write figures and cases there")
    options = parser.parse_args()
    cases = [case for model in _models() for case in _cases(model, options)]
    if not cases:
        sys.exit("nothing was measured")
    tables = {"all": _figures(cases)} | _by_model(cases) | _by_agreement(cases)
    _print(tables, options)
    told = {name: msgspec.to_builtins(figures) for name, figures in tables.items()}
    print(json.dumps({"estimate": told}))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode({"samples": options.samples, "figures": told, "cases": cases}))


def _models() -> Iterator[labelled.Labelled]:
    folder = labelled.testdata()
    if folder is None:
        print("SqueezeNet and ResNet-8 are left out: no shared test data (set EDGEOPT_TESTDATA)")
    else:
        yield labelled.resnet8(folder)
        yield labelled.squeezenet(folder)
    yield labelled.parts()


def _cases(model: labelled.Labelled, options: argparse.Namespace) -> Iterator[Case]:
    found = answers(model, options.cache)
    teacher = found.pop("original")
    for number, (name, student) in enumerate(found.items()):
        for draw in range(options.draws):
            generator = np.random.default_rng([SEED, number, draw])
            yield _case(model, name, draw, teacher, student, generator.integers(0, len(teacher), options.samples))


def _case(model: labelled.Labelled, name: str, draw: int, teacher: Array, student: Array, drawn: Array) -> Case:
    right_t, right_s = teacher.argmax(axis=1) == model.labels, student.argmax(axis=1) == model.labels
    lost = right_t.astype(float) - right_s
    rows = [[[scores[i : i + 1]] for i in drawn] for scores in (teacher, student)]
    found = compare(rows[0], rows[1], task="classification", where="host")
    assert found.agreement_lower is not None
    assert found.expected_drop is not None
    assert found.expected_drop_low is not None
    assert found.expected_drop_high is not None
    return Case(
        model=model.name,
        variant=name,
        draw=draw,
        agreement=found.agreement,
        certified=1.0 - found.agreement_lower,
        expected=found.expected_drop,
        low=found.expected_drop_low,
        high=found.expected_drop_high,
        true_drop=float(lost.mean()),
        drawn_drop=float(lost[drawn].mean()),
        disagreement=float((teacher.argmax(axis=1) != student.argmax(axis=1)).mean()),
        noise=float(lost.std() / math.sqrt(len(lost))),
    )


def _figures(cases: Iterable[Case]) -> Figures:
    cases = list(cases)
    errors = 100 * np.array([case.expected - case.true_drop for case in cases])
    same = 100 * np.array([case.expected - case.drawn_drop for case in cases])
    noise = 100 * np.array([case.noise for case in cases])
    return Figures(
        cases=len(cases),
        variants=len({(case.model, case.variant) for case in cases}),
        bound_holds=float(np.mean([case.true_drop <= case.certified for case in cases])),
        distribution_holds=float(np.mean([case.disagreement <= case.certified for case in cases])),
        median_error=float(np.median(np.abs(errors))),
        p90_error=float(np.quantile(np.abs(errors), 0.9)),
        median_bias=float(np.median(errors)),
        median_error_same_samples=float(np.median(np.abs(same))),
        interval_holds=float(np.mean([case.low <= case.true_drop <= case.high for case in cases])),
        median_noise=float(np.median(noise)),
        rms_beyond_noise=math.sqrt(max(0.0, float(np.mean(errors**2 - noise**2)))),
        interval_holds_same_samples=float(np.mean([case.low <= case.drawn_drop <= case.high for case in cases])),
    )


def _by_model(cases: list[Case]) -> dict[str, Figures]:
    return {name: _figures(c for c in cases if c.model == name) for name in dict.fromkeys(c.model for c in cases)}


def _by_agreement(cases: list[Case]) -> dict[str, Figures]:
    """By what the population says, so that a draw's luck does not sort it."""
    bands = {
        "agree 90 % or more": (-1.0, 0.10),
        "agree 98 % or more": (-1.0, 0.02),
        "agree 90 to 98 %": (0.02, 0.10),
        "agree less than 90 %": (0.10, 1.0),
    }
    parts = {name: [c for c in cases if low < c.disagreement <= high] for name, (low, high) in bands.items()}
    return {name: _figures(part) for name, part in parts.items() if part}


def _print(tables: dict[str, Figures], options: argparse.Namespace) -> None:
    print(f"\n{options.samples} samples in a draw; errors, bias and noise in points of accuracy\n")
    heads = ("cases", "bound %", "flips %", "|err|", "p90", "bias", "|err| own", "noise", "beyond", "int. %", "own %")
    print(f"{'':<22}" + "".join(f"{head:>11}" for head in heads))
    for name, f in tables.items():
        shares = (100 * f.bound_holds, 100 * f.distribution_holds)
        errors = (
            f.median_error,
            f.p90_error,
            f.median_bias,
            f.median_error_same_samples,
            f.median_noise,
            f.rms_beyond_noise,
        )
        intervals = (100 * f.interval_holds, 100 * f.interval_holds_same_samples)
        cells = [
            str(f.cases),
            *(f"{x:.1f}" for x in shares),
            *(f"{x:.2f}" for x in errors),
            *(f"{x:.1f}" for x in intervals),
        ]
        print(f"{name:<22}" + "".join(f"{cell:>11}" for cell in cells))
    print(
        "\nbound: the certified drop is above the true one; flips: above the population's disagreement; |err|: median error of the expected drop, own: against "
        "the labels of the draw itself; int.: the interval holds the true drop, own: that of the draw"
    )
    print()


if __name__ == "__main__":
    main()
