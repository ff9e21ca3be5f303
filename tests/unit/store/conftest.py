"""A database for each test: SQLite always, PostgreSQL where `EDGEOPT_TEST_POSTGRES` is its URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data/runs.sqlite"
        return
    server = os.environ.get("EDGEOPT_TEST_POSTGRES")
    if not server:
        pytest.skip("EDGEOPT_TEST_POSTGRES is not set")
    clear(server)
    yield server
    clear(server)


def clear(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table in ("edgeopt_run", "edgeopt_schema_version"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
