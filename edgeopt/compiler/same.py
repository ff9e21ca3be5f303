"""Whether a rewritten graph still answers as the original does. Child side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feed, Feeds, Run, run_one
from edgeopt.compiler.runtime import open_session, specs
from edgeopt.domain.model import TensorSpec

SAMPLES = 2
TOLERANCE = {"float16": 2e-2, "float32": 1e-3, "float64": 1e-3}
"""Largest error over the largest answer. Folding changes the order of additions, no more."""

TRIED_SIZES = (64, 32, 224, 512, 16, 1)
"""For axes that the signature leaves open, when there are no samples."""


def check_same(source: Path, model: Any, samples: Feeds | None, scratch: Path) -> str:
    """Compare on a few samples, or on random inputs when there are none.

    Returns:
        What was compared, for people.

    Raises:
        Refused: the answers differ, or the rewritten graph does not run.
    """
    rewritten = scratch / "rewritten.onnx"
    rewritten.write_bytes(model.SerializeToString())
    original, changed = open_session(source), open_session(rewritten)
    feeds = list(samples.first(SAMPLES)) if samples is not None else plausible_feeds(original)
    if not feeds:
        return "not compared with the original: there are no samples, and no random input was accepted"
    worst = max(difference(run_one(_run(original), feed), run_one(_run(changed), feed)) for feed in feeds)
    kind = "samples" if samples is not None else "random inputs"
    if worst == 0.0:
        return f"answers exactly as the original on {len(feeds)} {kind}"
    return f"answers as the original on {len(feeds)} {kind}, up to {worst:.1e} of the largest value"


def _run(session: Any) -> Run:
    run: Run = partial(session.run, None)
    return run


def difference(expected: Sequence[Any], got: Sequence[Any], *, least: float = 1e-6) -> float:
    """Largest difference, as a share of the largest value of each output, which counts as `least` where it is smaller.

    Raises:
        Refused: beyond the tolerance, or of another form.
    """
    worst = 0.0
    for index, (r, y) in enumerate(zip(expected, got, strict=True)):
        if r.shape != y.shape or r.dtype != y.dtype:
            raise Refused(
                "differs",
                f"after rewriting, output {index} is {y.dtype} {list(y.shape)}, not {r.dtype} {list(r.shape)}",
            )
        if r.dtype.kind != "f":
            worst = max(worst, float(np.any(r != y)))
            tolerance = 0.0
        else:
            worst = max(worst, _relative(r, y, least))
            tolerance = TOLERANCE[r.dtype.name]
        if worst > tolerance:
            raise Refused(
                "differs",
                f"the rewritten graph gives other answers (output {index} differs by {worst:.1e} of its largest value)",
            )
    return worst


def _relative(r: Any, y: Any, least: float) -> float:
    r, y = r.astype(np.float64), y.astype(np.float64)
    known = np.isfinite(r)
    if not np.array_equal(known, np.isfinite(y)):
        return float("inf")
    scale = float(np.max(np.abs(r[known]), initial=0.0))
    gap = float(np.max(np.abs(r[known] - y[known]), initial=0.0))
    return gap / max(scale, least)


def plausible_feeds(session: Any) -> list[Feed]:
    """Random inputs in the first size that the original accepts; empty when it accepts none."""
    signature = specs(session.get_inputs())
    for size in TRIED_SIZES:
        feeds = list(random_feeds(signature, size, count=2))
        try:
            for feed in feeds:
                run_one(_run(session), feed)
        except Refused:
            continue
        return feeds
    return []


def random_feeds(signature: Sequence[TensorSpec], size: int, *, count: int) -> Iterator[Feed]:
    """Seeded noise of the signature's types; open axes become 1 in front, `size` elsewhere. Integers are 0 or 1, small enough to index anything."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        feed: Feed = {}
        for spec in signature:
            shape = [_axis(axis, position, size) for position, axis in enumerate(spec.shape or ())]
            if spec.dtype.startswith("float"):
                feed[spec.name] = np.asarray(generator.standard_normal(shape), dtype=spec.dtype)
            else:
                feed[spec.name] = np.asarray(generator.integers(0, 2, shape), dtype=spec.dtype)
        yield feed


def _axis(axis: int | str | None, position: int, size: int) -> int:
    if isinstance(axis, int):
        return axis
    return 1 if position == 0 else size
