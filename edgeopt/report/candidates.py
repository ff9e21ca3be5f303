"""The table of candidates: all columns where there is room for them, the bounds below their values and fewer columns where there is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from edgeopt.domain.pick import Pick, Summary
from edgeopt.report.cells import at_least, figure, interval, megabytes, percent, safe, times

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

PICKED = ">"

Layout = Literal["wide", "not-narrow", "narrow"]
LAYOUTS: tuple[Layout, ...] = ("wide", "not-narrow", "narrow")
"""From a value and its bounds side by side, over bounds below their values, to no column that a pick by latency can do without."""


_MAX_WIDTH = 10_000
"""Columns, so that a table says how wide it wants to be."""


class Column(msgspec.Struct, frozen=True):
    """A column: its head, the text of a candidate, where it is shown, and bounds of the value with their own head."""

    head: str
    value: Callable[[Summary], str]
    shown: Literal["always", "not-narrow", "wide"] = "always"
    side: Literal["left", "right"] = "right"
    bounds_head: str = ""
    bounds: Callable[[Summary], str] | None = None


_THROUGHPUT = Column("per\nsecond", lambda s: figure(s.throughput), shown="not-narrow")
_LATE = Column("late\n%", lambda s: percent(s.late_share), shown="not-narrow")
_ENERGY = Column("energy\nmJ", lambda s: figure(s.energy_mj), shown="not-narrow")
_COLUMNS = (
    Column("size\nMB", lambda s: megabytes(s.size_bytes)),
    Column(
        "p50\nms",
        lambda s: figure(s.p50_ms),
        bounds_head="p50 ms,\n95 % sure",
        bounds=lambda s: interval(s.p50_low_ms, s.p50_high_ms),
    ),
    Column("p90\nms", lambda s: figure(s.p90_ms), shown="not-narrow"),
    _THROUGHPUT,
    _LATE,
    Column("memory\nMB", lambda s: megabytes(s.peak_memory_bytes)),
    _ENERGY,
    Column(
        "agrees\n%",
        lambda s: percent(s.agreement),
        bounds_head="at\nleast",
        bounds=lambda s: at_least(s.agreement_lower),
    ),
    Column("speed-\nup", lambda s: times(s.ratio)),
    Column("verdict", lambda s: s.verdict, shown="wide", side="left"),
)


class CandidateTable:
    """A rich renderable that fits itself to the width it is given."""

    def __init__(self, pick: Pick) -> None:
        self._pick = pick

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Yield the fullest table of which no line has to be broken in this width; the narrow one when all must be."""
        from rich.measure import Measurement

        for layout in LAYOUTS:
            table = _table(self._pick, layout)
            if Measurement.get(console, options.update(max_width=_MAX_WIDTH), table).maximum <= options.max_width:
                break
        yield table


def _table(pick: Pick, layout: Layout) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = layout == "wide"
    columns = _columns(layout, pick.summaries)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(Text(""), no_wrap=True)
    table.add_column(Text("candidate"), overflow="fold")
    for column in columns:
        table.add_column(Text(column.head), justify=column.side, no_wrap=True)
    for summary in pick.summaries:
        picked = summary.candidate == pick.candidate
        name = safe(summary.candidate) if wide else f"{safe(summary.candidate)}\n{summary.verdict}"
        cells = [_cell(column, summary) for column in columns]
        row = [Text(text) for text in (PICKED if picked else "", name, *cells)]
        table.add_row(*row, style="bold green" if picked else None)
    return table


def _columns(layout: Layout, summaries: Sequence[Summary]) -> list[Column]:
    """What is shown; in the wide layout, bounds are columns of their own, and so is energy that nobody measured."""
    has_energy = any(s.energy_mj is not None for s in summaries)
    unused = {
        _THROUGHPUT: all(s.throughput is None for s in summaries),
        _LATE: all(s.late_share is None for s in summaries),
        _ENERGY: not has_energy and layout != "wide",
    }
    used = [column for column in _COLUMNS if not unused.get(column, False)]
    if layout != "wide":
        return [column for column in used if column.shown in ("always", layout)]
    columns = []
    for column in used:
        columns.append(msgspec.structs.replace(column, bounds=None))
        if column.bounds is not None:
            columns.append(Column(column.bounds_head, column.bounds))
    return columns


def _cell(column: Column, summary: Summary) -> str:
    value = column.value(summary)
    return value if column.bounds is None else f"{value}\n{column.bounds(summary)}".rstrip()
