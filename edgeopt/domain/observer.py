"""How work tells what it is doing. Library code prints nothing; it tells an observer, which is silent by default."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told of progress. Called from any thread, must return at once and never raise."""

    def stage(self, name: str, title: str, total: float | None = None) -> None:
        """A stage begins (`name` is stable: inspect, samples, build, connect, ship, measure, install); `total` in its own unit, None when unknown."""

    def advance(self, name: str, done: float, detail: str = "") -> None:
        """The stage has done `done` of its total; `detail` says what is being tried, for people."""

    def finish(self, name: str, detail: str = "") -> None:
        """The stage is over."""

    def note(self, text: str) -> None:
        """Something worth a line: an assumption, a doubt, a retry."""


class Silent:
    """The observer that says nothing."""

    def stage(self, name: str, title: str, total: float | None = None) -> None:
        """Say nothing."""

    def advance(self, name: str, done: float, detail: str = "") -> None:
        """Say nothing."""

    def finish(self, name: str, detail: str = "") -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""
