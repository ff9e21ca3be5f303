"""The index of runs in a database: what `runs list` asks. Everything in it can be made again from the raw files.

SQL here is what SQLite and PostgreSQL both speak; SQLite's own settings are made where a connection to it is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from edgeopt.domain.pick import Pick, Summary
from edgeopt.domain.run import Run
from edgeopt.errors import StoreError

SCHEMA = 1
BUSY_TIMEOUT_S = 10.0
WRITE_ATTEMPTS = 3

_SUMMARY = msgspec.json.Decoder(Summary)
_METADATA = sa.MetaData()
_VERSION = sa.Table(
    "edgeopt_schema_version", _METADATA, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)
)
_RUN = sa.Table(
    "edgeopt_run",
    _METADATA,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("app", sa.String(63), nullable=False, index=True),
    sa.Column("device", sa.String(63), nullable=False, index=True),
    sa.Column("profile", sa.String(63), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("model_digest", sa.String(64), nullable=False, index=True),
    sa.Column("status", sa.String(20)),
    sa.Column("candidate", sa.Text),
    sa.Column("summary", sa.Text),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run in a list. `status` and `candidate` are of the latest pick; `summary` is the chosen candidate's, None when there is none.

    `host` is the computer that keeps the raw run, `file` its name in that computer's folder of runs, `sha256` its digest.
    """

    id: str
    created_at: str
    app: str
    device: str
    profile: str
    model: str
    model_digest: str
    status: str | None
    candidate: str | None
    summary: Summary | None
    host: str
    file: str
    sha256: str


def make_row(run: Run, content: bytes, pick: Pick | None) -> RunRow:
    """What the index keeps of a run. `content` is the raw file."""
    chosen = None if pick is None else next((s for s in pick.summaries if s.candidate == pick.candidate), None)
    return RunRow(
        id=run.id,
        created_at=run.created_at,
        app=run.app,
        device=run.device.name,
        profile=run.profile.name,
        model=run.model.name,
        model_digest=run.model.digest,
        status=None if pick is None else pick.status,
        candidate=None if pick is None else pick.candidate,
        summary=chosen,
        host=socket.gethostname(),
        file=f"{run.id}.json",
        sha256=hashlib.sha256(content).hexdigest(),
    )


class Index:
    """A database of `RunRow`s. Opens a connection for each call and closes it."""

    def __init__(self, url: str) -> None:
        with _translated("the results database"):
            self._url = sa.make_url(url)
        self._name = self._url.render_as_string(hide_password=True)
        self._engine: sa.Engine | None = None

    def prepare(self) -> bool:
        """Make the tables when they are not there, or are of an older edgeopt; True when the index is new and has to be filled.

        Raises:
            StoreError: the database cannot be used, or is of a newer edgeopt.
        """
        with _translated(self._name):
            engine = self._open()
            found = self._version(engine)
            if found == SCHEMA:
                return False
            if found is not None and found > SCHEMA:
                message = f"{self._name}: has schema {found}, this edgeopt knows {SCHEMA}"
                raise StoreError(message, hint="Update edgeopt: pip install --upgrade edgeopt")
            return self._create(engine, stale=found is not None)

    def put(self, rows: Iterable[RunRow], *, remove: Iterable[str] = ()) -> None:
        """Insert or replace `rows` and take out those of the ids `remove`, all or nothing.

        Raises:
            StoreError: the database cannot be written.
        """
        rows, remove = tuple(rows), tuple(remove)
        with _translated(self._name):
            attempt = 1
            while not self._put(rows, remove, last=attempt == WRITE_ATTEMPTS):
                attempt += 1

    def _put(self, rows: Iterable[RunRow], remove: Iterable[str], *, last: bool) -> bool:
        """False when another process wrote one of these ids between the delete and the insert; the next delete will see it.

        One id after the other, in order: two processes that touch the same rows then wait for each other, and never both.
        """
        work: list[tuple[str, RunRow | None]] = [(run_id, None) for run_id in remove]
        work += [(row.id, row) for row in rows]
        try:
            with _writing(self._open()) as connection:
                for run_id, row in sorted(work, key=lambda each: each[0]):
                    connection.execute(sa.delete(_RUN).where(_RUN.c.id == run_id))
                    if row is not None:
                        connection.execute(sa.insert(_RUN).values(**_columns(row)))
        except IntegrityError:
            if last:
                raise
            return False
        return True

    def own_ids(self) -> frozenset[str]:
        """Ids of the runs that this computer keeps; other computers may share the database.

        Raises:
            StoreError: the database cannot be read.
        """
        rows = self._select(sa.select(_RUN).where(_RUN.c.host == socket.gethostname()))
        return frozenset(row.id for row in rows)

    def get(self, run_id: str) -> RunRow | None:
        """One row by its whole id.

        Raises:
            StoreError: the database cannot be read.
        """
        rows = self._select(sa.select(_RUN).where(_RUN.c.id == run_id))
        return rows[0] if rows else None

    def list(self, *, limit: int, app: str | None, device: str | None) -> tuple[RunRow, ...]:
        """The newest rows first.

        Raises:
            StoreError: the database cannot be read.
        """
        query = sa.select(_RUN).order_by(_RUN.c.id.desc()).limit(limit)
        if app is not None:
            query = query.where(_RUN.c.app == app)
        if device is not None:
            query = query.where(_RUN.c.device == device)
        return self._select(query)

    def _select(self, query: sa.Select[Any]) -> tuple[RunRow, ...]:
        with _translated(self._name), self._open().connect() as connection:
            return tuple(_row(dict(found)) for found in connection.execute(query).mappings())

    def _open(self) -> sa.Engine:
        if self._engine is None:
            self._engine = (
                _sqlite(self._url)
                if self._url.get_backend_name() == "sqlite"
                else sa.create_engine(self._url, poolclass=sa.NullPool)
            )
        return self._engine

    @staticmethod
    def _version(engine: sa.Engine) -> int | None:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table(_VERSION.name):
                return None
            return connection.execute(sa.select(sa.func.max(_VERSION.c.version))).scalar()

    def _create(self, engine: sa.Engine, *, stale: bool) -> bool:
        """Make the tables; False when another process was doing the same, and was first."""
        try:
            with _writing(engine) as connection:
                if stale:
                    _METADATA.drop_all(connection)
                _METADATA.create_all(connection)
                connection.execute(sa.insert(_VERSION).values(version=SCHEMA))
        except SQLAlchemyError:
            if self._version(engine) != SCHEMA:
                raise
            return False
        return True


def _columns(row: RunRow) -> dict[str, Any]:
    columns = msgspec.structs.asdict(row)
    columns["summary"] = None if row.summary is None else msgspec.json.encode(row.summary).decode()
    return columns


def _row(columns: dict[str, Any]) -> RunRow:
    text = columns.pop("summary")
    return RunRow(**columns, summary=None if text is None else _SUMMARY.decode(text))


def _sqlite(url: sa.URL) -> sa.Engine:
    """SQLite's engine: readers and a writer at once (WAL), and patience with other writers. Its folder is made."""
    if url.database and "uri" not in url.query:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    patience = {} if "timeout" in url.query else {"timeout": BUSY_TIMEOUT_S}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=patience)
    sa.event.listen(engine, "connect", _use_wal)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _use_wal(connection: sqlite3.Connection, _record: object) -> None:
    """And leave the transactions to us: Python's driver begins none before DDL, so tables would be seen before they are all there."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    """A writer takes its turn at once: one that reads first and then writes cannot be made to wait, only to fail."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _writing(engine: sa.Engine) -> contextlib.AbstractContextManager[sa.Connection]:
    """A transaction that writes: committed at the end, or nothing of it happened."""
    return engine.execution_options(writes=True).begin()


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    """Errors of the database leave as StoreError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise StoreError(f"{name}: needs the Python package {error.name}", hint=f"pip install {error.name}") from error
    except (SQLAlchemyError, sqlite3.Error, msgspec.MsgspecError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        raise StoreError(f"{name}: {reason}", hint=_advice(reason)) from error
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror or error}", hint=_advice(str(error))) from error


def _advice(reason: str) -> str:
    """What to do about a database's complaint."""
    for words, advice in (
        ("locked", "Another process is writing to it; wait for it and try again."),
        ("full", "Free some space; the raw runs are kept apart, and the index is made again from them."),
        ("readonly", "Check who owns the file, or move edgeopt's folders with EDGEOPT_HOME."),
        ("not a database", "Remove it; the index is made again from the raw runs."),
        ("malformed", "Remove it; the index is made again from the raw runs."),
    ):
        if words in reason:
            return advice
    return "The raw runs are kept apart from the database; the index can be made again from them."
