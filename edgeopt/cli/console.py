"""What people see: progress on stderr, tables on stdout."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from edgeopt.domain.observer import Observer, Silent


class Progress:
    """An observer that draws a bar for every stage on a terminal, and a line per stage elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            # One line, whatever the terminal's width.
            TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        self._bars = Bars(*columns, console=self._console, transient=False, disable=not self._live)
        self._tasks: dict[str, TaskID] = {}
        self._titles: dict[str, str] = {}

    def __enter__(self) -> Observer:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str, title: str, total: float | None = None) -> None:
        """Begin a bar."""
        self._titles[name] = title
        self._tasks[name] = self._bars.add_task(title, total=total, detail="")

    def advance(self, name: str, done: float, detail: str = "") -> None:
        """Move a bar."""
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=done, detail=detail)

    def finish(self, name: str, detail: str = "") -> None:
        """Fill a bar."""
        if name in self._tasks:
            self._bars.update(self._tasks[name], total=1.0, completed=1.0, detail=detail)
        if not self._live:
            click.echo(f"{self._titles.get(name, name)}{': ' + detail if detail else ''}", err=True)

    def note(self, text: str) -> None:
        """Say a line above the bars."""
        if self._live:
            self._console.print(text, style="yellow", markup=False, highlight=False)
        else:
            click.echo(f"note: {text}", err=True)


class _Quiet(Silent):
    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


def watching(*, quiet: bool) -> Progress | _Quiet:
    """Return an observer to use in a `with`: silent, or drawn on stderr (stdout stays for results)."""
    return _Quiet() if quiet else Progress()


def show(renderable: Any) -> None:
    """Print a table or text of `edgeopt.report` on stdout, wide enough to be read when it is piped."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=max(console.width, 120))
    console.print(renderable)


def print_json(document: Any) -> None:
    """Print one JSON object on stdout."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
