"""One board that is set up, shared by the tests of a worker; each leaves it as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.board import require_board
from tests.e2e.ssh.boards import Wired, make_wired


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetched wheels, shared by all workers of this run."""
    require_board()
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Wired]:
    """`board`: trusted, with its runtime; nothing is deployed to it at first."""
    made = make_wired(tmp_path_factory.mktemp("wired") / "shared", wheels)
    try:
        made.ok("device", "trust", "board", "--yes")
        made.set_up("board")
        yield made
    finally:
        made.board.stop()


@pytest.fixture
def wired(shared: Wired) -> Iterator[Wired]:
    """The shared board; when a test is done, nothing of it runs there. What has arrived of an upload that was interrupted is kept on purpose: it goes here, so that the next test finds none."""
    yield shared
    shared.drop_uploads()
    assert shared.board.commands() == []
