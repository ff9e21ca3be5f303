"""Fixtures: the agent as it is shipped, under every interpreter that EDGEOPT_AGENT_PYTHONS names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import edgeopt_agent
from edgeopt.measure.agent_zip import build_agent
from tests.agent.client import Client

PYTHONS = [python for python in os.environ.get("EDGEOPT_AGENT_PYTHONS", "").split(os.pathsep) if python] or [
    sys.executable
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that asks for `python` under each interpreter."""
    if "python" in metafunc.fixturenames:
        metafunc.parametrize(
            "python",
            PYTHONS,
            scope="session",
            ids=[Path(p).resolve().name + "-" + Path(p).parts[-3] for p in PYTHONS],
        )


@pytest.fixture(scope="session")
def agent_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipapp."""
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(build_agent()[0])
    return path


@pytest.fixture(scope="session")
def agent_path(agent_zip: Path) -> Path:
    """What to run: the zipapp; under coverage the folder that it is made of, because lines in an archive are not counted."""
    return Path(edgeopt_agent.__file__).parent if "COVERAGE_PROCESS_CONFIG" in os.environ else agent_zip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the device tree of this test is."""
    return tmp_path / "edgeopt"


@pytest.fixture
def start(python: str, agent_path: Path, root: Path) -> Iterator[Callable[..., Client]]:
    """Start agents; all of them are ended with the test."""
    with ExitStack() as stack:

        def start_one(*options: str, root: Path = root, environment: dict[str, str] | None = None) -> Client:
            return stack.enter_context(Client(python, agent_path, root, *options, environment=environment))

        yield start_one


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    """A running agent."""
    return start()


@pytest.fixture
def locked(client: Client) -> Client:
    """A running agent that has the device."""
    client.lock()
    return client
