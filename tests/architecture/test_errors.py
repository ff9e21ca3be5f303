"""The error tree and its documentation are one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeopt import errors
from edgeopt.errors import EdgeoptError

DOCS = Path(__file__).resolve().parents[2] / "docs"


def leaves(kind: type[EdgeoptError]) -> Iterator[type[EdgeoptError]]:
    for below in kind.__subclasses__():
        yield below
        yield from leaves(below)


def test_every_error_is_drawn_in_the_tree() -> None:
    """The module's docstring is the map."""
    for kind in leaves(EdgeoptError):
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in (errors.__doc__ or "")


def test_every_word_is_documented_with_its_exit_code() -> None:
    """A script can look up what it reads."""
    rows = [line for line in (DOCS / "errors.md").read_text().splitlines() if line.startswith("| `")]
    for kind in leaves(EdgeoptError):
        found = [row for row in rows if f"`{kind.code}`" in row]
        assert found, f"{kind.code} is not in docs/errors.md"
        assert f"| {kind.exit_code} |" in found[0]
