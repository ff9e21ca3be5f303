"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("edgeopt", deadline=None)  # a busy machine is no failure
settings.load_profile("edgeopt")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_testdata() -> Path:
    """Folder of real models and data that are not part of the project; tests that want it skip when it is absent."""
    folder = Path(os.environ.get("EDGEOPT_TESTDATA", REPOSITORY.parent / "shared" / "testdata"))
    if not (folder / "models").is_dir():
        pytest.skip("no shared test data (set EDGEOPT_TESTDATA)")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--device NAME`: a board of the user's inventory, for the tests marked `hil`. `--arm full`: every emulated machine, and more power cuts; `--arm models`: real models on one of them."""
    parser.addoption("--device", default=None, help="a board of the inventory, for tests on real hardware")
    parser.addoption(
        "--arm", choices=["quick", "full", "models"], default="quick", help="how much is tested on ARM guests"
    )
