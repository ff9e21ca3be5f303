"""The results store: raw runs as files, and an index of them in a database."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec

from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.errors import RunUnreadable, StoreError
from edgeopt.store.index import Index, RunRow, make_row
from edgeopt.store.run_files import RunFiles

_LOG = logging.getLogger(__name__)


class Reindexed(msgspec.Struct, frozen=True, kw_only=True):
    """What making the index again came to. `unreadable` has a sentence for every run that was left out."""

    count: int
    unreadable: dict[str, str]


class ResultsStore:
    """Runs and picks. The files decide; the database only makes lists quick.

    Args:
        url: of the database, as SQLAlchemy writes it; `sqlite:///<path>` or, say, `postgresql+psycopg://user@host/name`.
        runs: the folder of raw runs; made when needed.
    """

    def __init__(self, url: str, runs: Path) -> None:
        self._files = RunFiles(runs)
        self._index = Index(url)

    def save_run(self, run: Run, pick: Pick) -> None:
        """Save a run and the pick from it. When the database fails, the files are there already.

        Raises:
            StoreError: nothing could be written, or another run of this id is there.
        """
        content = self._files.write_run(run)
        self._files.write_pick(run.id, pick)
        self._ready()
        self._index.put([make_row(run, content, pick)])

    def save_pick(self, name: str, pick: Pick) -> None:
        """Save a later pick from a saved run; the raw run stays as it is.

        Raises:
            UnknownName, RunUnreadable, StoreError: no such run; it is damaged; it cannot be written.
        """
        run_id = self._files.resolve(name)
        run, content = self._files.read_run(run_id)
        self._files.write_pick(run_id, pick)
        self._ready()
        self._index.put([make_row(run, content, pick)])

    def load_run(self, name: str) -> Run:
        """A run by its id, an unambiguous beginning of it, or `last`.

        Raises:
            UnknownName: unknown-run.
            RunUnreadable: damaged, changed since it was saved, or of another schema.
        """
        run_id = self._files.resolve(name)
        run, content = self._files.read_run(run_id)
        known = self._known_digest(run_id)
        if known is not None and known != hashlib.sha256(content).hexdigest():
            raise RunUnreadable(
                f"run {run_id}: the file was changed since it was saved",
                hint="Restore it from a backup; if you changed it on purpose, give it another id.",
            )
        return run

    def load_pick(self, name: str) -> Pick | None:
        """The latest pick from a run, None when none was saved.

        Raises:
            UnknownName, RunUnreadable: no such run; the pick is damaged.
        """
        return self._files.read_pick(self._files.resolve(name))

    def list_runs(self, *, limit: int = 50, app: str | None = None, device: str | None = None) -> tuple[RunRow, ...]:
        """The newest runs first.

        Raises:
            StoreError: the database cannot be used.
        """
        self._ready()
        return self._index.list(limit=limit, app=app, device=device)

    def reindex(self) -> Reindexed:
        """Make the index again from the raw files.

        Raises:
            StoreError: the database or the folder cannot be used.
        """
        self._index.prepare()
        return self._fill()

    def _ready(self) -> None:
        """See that the database is there; a new one learns of the runs that are there already."""
        if self._index.prepare():
            self._fill()

    def _fill(self) -> Reindexed:
        # Asked before the files are listed: a run that another process saves meanwhile is in neither, and stays.
        known = self._index.own_ids()
        rows: list[RunRow] = []
        unreadable: dict[str, str] = {}
        for run_id in self._files.ids():
            try:
                run, content = self._files.read_run(run_id)
                rows.append(make_row(run, content, self._files.read_pick(run_id)))
            except RunUnreadable as error:
                unreadable[run_id] = error.message
        self._index.put(rows, remove=known - {row.id for row in rows})
        return Reindexed(count=len(rows), unreadable=unreadable)

    def _known_digest(self, run_id: str) -> str | None:
        """What the index says of the file; a broken index keeps nobody from reading a run."""
        try:
            self._ready()
            row = self._index.get(run_id)
        except StoreError as error:
            _LOG.warning("%s", error.message)
            return None
        return None if row is None else row.sha256
