"""Medians over splits, the table, and what it says of each case: is one of ours as faithful as the best peer and as fast as the fastest?"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cases import Target
from contenders import OURS, PEERS
from scoring import Fused, Row
from timing import Latency

AGREEMENT_SLACK = 0.005
SQNR_SLACK_DB = 0.2
RATIO_SLACK = 1.05
"""What counts as equal: half a point of agreement, 0.2 dB and 5 % of latency are within what repeating a measurement moves."""
HEADING = re.compile(r"^(?=### )", re.MULTILINE)
BEGIN, END = "<!-- measured: benchmarks/compression/run.py writes from here -->", "<!-- to here -->"


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything measured of one case. `latencies` by title, one for each number of threads."""

    name: str
    title: str
    calibrated: str
    scored: str
    target: Target | None
    rows: list[Row]
    latencies: dict[str, list[Latency]]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One contender, medians over the splits; `low` is the worst split's agreement. Ratios at one and two threads; None where not measured."""

    title: str
    agreement: float | None = None
    low: float | None = None
    sqnr_db: float | None = None
    ratios: tuple[float, ...] = ()
    fused: Fused | None = None
    build_s: float | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    bytes: int = 0
    failure: str | None = None


def lines(result: CaseResult) -> list[Line]:
    """One for each contender, in the order of the contenders."""
    titles = dict.fromkeys(row.made.title for row in result.rows)
    return [_line(result, title, [row for row in result.rows if row.made.title == title]) for title in titles]


def _line(result: CaseResult, title: str, rows: list[Row]) -> Line:
    scored = [row.fidelity for row in rows if row.fidelity is not None]
    if len(scored) < len(rows):
        return Line(title=title, failure=next(row.failure for row in rows if row.failure))
    return Line(
        title=title,
        agreement=_median(f.agreement for f in scored),
        low=min(f.agreement for f in scored),
        sqnr_db=_median(f.sqnr_db for f in scored),
        ratios=tuple(latency.ratio for latency in result.latencies.get(title, ())),
        fused=rows[0].fused,
        build_s=_median(row.made.build_s for row in rows),
        cpu_s=_median(row.made.cpu_s for row in rows),
        peak_memory_bytes=max((row.made.peak_memory_bytes or 0 for row in rows), default=0) or None,
        bytes=rows[0].made.bytes,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def verdict(result: CaseResult) -> str:
    """One sentence or two."""
    found = [line for line in lines(result) if line.agreement is not None]
    ours = [line for line in found if line.title in OURS]
    peers = [line for line in found if line.title in PEERS]
    if not ours or not peers or not all(line.ratios for line in found):
        return "no verdict: something was not measured."
    best, loudest = (max(key(line) for line in peers) for key in (_agreement, _sqnr))
    fastest = tuple(min(line.ratios[i] for line in peers) for i in range(len(peers[0].ratios)))
    goal = f"best peer {best:.3f}, {loudest:.1f} dB; fastest {_ratios(fastest)}"
    both = [line for line in ours if _faithful(line, best, loudest) and _as_fast(line, fastest)]
    if both:
        return f"yes, both ends in one file: {'; '.join(_short(line) for line in both)} ({goal})."
    front = [line for line in ours if not any(_beats(other, line) for other in found)]
    lost = [line for line in peers if not any(_beats(other, line) for other in ours)]
    words = f"no single file has both ends ({goal}). On the frontier: {'; '.join(_short(line) for line in front) or 'none of ours'}"
    return words + (
        f". Peers' points that none of ours beats: {'; '.join(_short(line) for line in lost)}." if lost else "."
    )


def _faithful(line: Line, best: float, loudest: float) -> bool:
    return _agreement(line) >= best - AGREEMENT_SLACK and _sqnr(line) >= loudest - SQNR_SLACK_DB


def _as_fast(line: Line, fastest: tuple[float, ...]) -> bool:
    return all(mine <= theirs * RATIO_SLACK for mine, theirs in zip(line.ratios, fastest, strict=True))


def _beats(a: Line, b: Line) -> bool:
    """No worse in agreement nor in latency, both within the slack, and clearly better in one."""
    no_worse = _agreement(a) >= _agreement(b) - AGREEMENT_SLACK and _as_fast(a, b.ratios)
    better = _agreement(a) > _agreement(b) + AGREEMENT_SLACK or not _as_fast(b, a.ratios)
    return no_worse and better


def _agreement(line: Line) -> float:
    return line.agreement or 0.0


def _sqnr(line: Line) -> float:
    """No noise at all counts as more than any noise."""
    return float("inf") if line.sqnr_db is None else line.sqnr_db


def target_verdict(result: CaseResult) -> str | None:
    """Whether one of ours reaches what issue 3 asks, None where nothing is asked."""
    target = result.target
    if target is None:
        return None
    asked = f"asked {target.agreement:.3f}"
    asked += (f", {target.sqnr_db:.0f} dB" if target.sqnr_db else "") + f" at {target.ratio:.2f} with two threads"
    ours = [line for line in lines(result) if line.title in OURS and line.agreement is not None and line.ratios]
    if not ours:
        return f"{asked}: not timed."
    reached = [line for line in ours if _reaches(line, target)]
    if reached:
        return f"{asked}: reached by {'; '.join(_short(line) for line in reached)}."
    nearest = "; ".join(_short(line) for line in ours)
    return f"{asked}: not reached ({nearest})."


def _reaches(line: Line, target: Target) -> bool:
    loud = target.sqnr_db is None or _sqnr(line) >= target.sqnr_db
    return _agreement(line) >= target.agreement and loud and line.ratios[-1] <= target.ratio


def _short(line: Line) -> str:
    return f"{line.title} ({_agreement(line):.3f}, {_decibels(line)}, {_ratios(line.ratios)})"


def _decibels(line: Line) -> str:
    return "exact" if line.sqnr_db is None else f"{line.sqnr_db:.1f} dB"


def _ratios(ratios: tuple[float, ...]) -> str:
    return " / ".join(f"{ratio:.2f}" for ratio in ratios) or "?"


HEADS = (
    "agreement (worst split)",
    "SQNR dB",
    "latency ratio, 1 / 2 threads",
    "products in int8, x86 / ARM rules",
    "multiplications in int8, x86 / ARM, %",
    "build s",
    "of CPU",
    "peak MB",
    "kB",
)


def _section(result: CaseResult) -> str:
    """Its table and its verdict."""
    head = f"### {result.title}\n\nCalibrated on {result.calibrated}, scored on {result.scored}; {_splits(result)}.\n"
    table = ["| | " + " | ".join(HEADS) + " |", "|" + "---|" * (len(HEADS) + 1)]
    table += [f"| {line.title} | " + " | ".join(_cells(line)) + " |" for line in lines(result)]
    told = [f"Both ends: {verdict(result)}"]
    target = target_verdict(result)
    told += [f"Target: {target}"] if target else []
    return head + "\n" + "\n".join(table) + "\n\n" + "\n\n".join(told)


def _splits(result: CaseResult) -> str:
    count = len({row.seed for row in result.rows})
    return f"medians over {count} splits" if count > 1 else "one split"


def _cells(line: Line) -> list[str]:
    if line.agreement is None:
        return [f"none: {line.failure}", *[""] * (len(HEADS) - 1)]
    f = line.fused
    return [
        f"{line.agreement:.3f} ({line.low:.3f})",
        "exact" if line.sqnr_db is None else f"{line.sqnr_db:.1f}",
        _ratios(line.ratios),
        "" if f is None else f"{f.x86} / {f.arm} of {f.products}",
        "" if f is None else f"{_percent(f.x86_share)} / {_percent(f.arm_share)}",
        "" if line.build_s is None else f"{line.build_s:.1f}",
        "" if line.cpu_s is None else f"{line.cpu_s:.1f}",
        "" if line.peak_memory_bytes is None else f"{line.peak_memory_bytes / 1e6:.0f}",
        f"{line.bytes / 1e3:.0f}",
    ]


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f}"


def printed(results: list[CaseResult]) -> str:
    """The same for a terminal, in columns."""
    parts = []
    for result in results:
        rows = [("", *HEADS), *((line.title, *_cells(line)) for line in lines(result))]
        widths = [max(len(row[i]) if row[2] else 0 for row in rows) for i in range(len(rows[0]))]
        text = [" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        told = [f"both ends: {verdict(result)}", f"target: {target_verdict(result) or 'none'}"]
        parts.append("\n".join([f"\n{result.title} ({_splits(result)})", *text, *told]))
    return "\n".join(parts)


def write_docs(path: Path, results: list[CaseResult]) -> None:
    """Put the tables between the two marks; those of cases that were not run stay as they are."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    block, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{path} has no marks to write between: {BEGIN} and {END}")
    tables = spliced(block, {result.title: _section(result) for result in results})
    path.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}", encoding="utf-8")


def spliced(block: str, sections: dict[str, str]) -> str:
    """What stands between the marks, with some sections written anew in their places and new ones at the end.

    Args:
        block: sections that begin with their titles.
        sections: by title.
    """
    found = [part.strip() for part in HEADING.split(block) if part.strip()]
    kept = {part.partition("\n")[0].removeprefix("### "): part for part in found}
    return "\n\n".join((kept | sections).values())
