"""The tables of pruning: one line a variant, means over folds, with the error of a mean over pictures."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import msgspec
from table import spliced

BEGIN, END = "<!-- measured: benchmarks/pruning/curve.py writes from here -->", "<!-- to here -->"
HEADS = ("", "latency ratio", "agreement", "top-1", "points lost", "foretold without labels (at most)", "build s")


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A variant in one fold, or why there is none. `ratio` to the file as given; `lost`: for each picture 1 where only the original was right, -1 where only the variant was.

    `expected` and `certified` are the drop of accuracy that the product foretells from the same pictures without their labels, and the most that it can be (95 % sure).
    """

    fold: int
    title: str
    ratio: float | None = None
    agreement: float | None = None
    top1: float | None = None
    lost: list[int] = []
    expected: float | None = None
    certified: float | None = None
    build_s: float = 0.0
    notes: tuple[str, ...] = ()
    reason: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one network. `calibrated` and `scored` count pictures of a fold."""

    title: str
    calibrated: int
    scored: int
    folds: int
    points: list[Point]


def _lines(result: Result) -> list[tuple[str, ...]]:
    titles = dict.fromkeys(point.title for point in result.points)
    return [_line(title, [point for point in result.points if point.title == title]) for title in titles]


def _line(title: str, points: list[Point]) -> tuple[str, ...]:
    refused = next((point.reason for point in points if point.reason is not None), None)
    known = [point for point in points if point.ratio is not None]
    if refused is not None or not known:
        return (title, f"none: {refused}", "", "", "", "", "")
    lost = [each for point in known for each in point.lost]
    mean = statistics.fmean(lost)
    error = math.sqrt(max(statistics.fmean(x * x for x in lost) - mean * mean, 0.0) / len(lost))
    return (
        title,
        f"{statistics.median(point.ratio or 0.0 for point in known):.3f}",
        f"{statistics.fmean(point.agreement or 0.0 for point in known):.3f}",
        f"{statistics.fmean(point.top1 or 0.0 for point in known):.3f}",
        "" if title == "original" else f"{100 * mean:.1f} +- {100 * error:.1f}",
        "" if title == "original" else _foretold(known),
        "" if title == "original" else f"{statistics.fmean(point.build_s for point in known):.0f}",
    )


def _foretold(points: list[Point]) -> str:
    pairs = [(p.expected, p.certified) for p in points if p.expected is not None and p.certified is not None]
    if not pairs:
        return "?"
    return f"{100 * statistics.fmean(e for e, _ in pairs):.1f} ({100 * statistics.fmean(c for _, c in pairs):.1f})"


def _section(result: Result) -> str:
    told = f"Fitted to {result.calibrated} pictures, scored by labels on {result.scored} others"
    told += f", {result.folds} folds, so on {result.folds * result.scored} in all." if result.folds > 1 else "."
    table = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    table += ["| " + " | ".join(line) + " |" for line in _lines(result)]
    return f"### {result.title}, pruned\n\n{told}\n\n" + "\n".join(table)


def printed(results: list[Result]) -> str:
    """For a terminal."""
    return "\n\n".join(_section(result) for result in results)


def write_docs(path: Path, results: list[Result]) -> None:
    """Put the tables between the two marks; those of networks that were not run stay as they are."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    block, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{path} has no marks to write between: {BEGIN} and {END}")
    tables = spliced(block, {f"{result.title}, pruned": _section(result) for result in results})
    path.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}", encoding="utf-8")
