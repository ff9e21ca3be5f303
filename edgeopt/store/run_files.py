"""Raw runs: one versioned JSON file each, never changed once written. They are the truth; the database is an index of them.

`<id>.json` is the run, `<id>.pick.json` the latest pick from it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.errors import RunUnreadable, StoreError, UnknownName
from edgeopt.store.blobs import write_atomic

SCHEMA = 1
LAST = "last"
MAX_FILE_BYTES = 1 << 30
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_PICK_ENDING = ".pick.json"
_SPACE = "Free some space, or move edgeopt's folders with EDGEOPT_HOME."
T = TypeVar("T")


class _Envelope(msgspec.Struct):
    """What every version of the file has."""

    schema: int


# Made while the module is imported, by one thread: msgspec 0.22 crashes when two threads decode into a type that neither has used before.
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_RUN = msgspec.json.Decoder(Run)
_PICK = msgspec.json.Decoder(Pick)


class RunFiles:
    """The folder of raw runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write_run(self, run: Run) -> bytes:
        """Write a run and return its bytes. Writing the same again is nothing.

        Raises:
            StoreError: it cannot be written, or another run of this id is there.
            RunUnreadable: what is there under this id cannot be read.
        """
        if not _ID.fullmatch(run.id):
            raise StoreError(f"run {run.id!r}: the id is not a file name")
        content = msgspec.json.format(msgspec.json.encode(run), indent=1)
        path = self._folder / f"{run.id}.json"
        if path.exists() and _read(path) != content:
            raise StoreError(f"{path}: another run is kept under this id, and raw runs are never overwritten")
        self._write(path, content, _RUN)
        return content

    def write_pick(self, run_id: str, pick: Pick) -> None:
        """Write the latest pick from a run beside it; the run stays as it is.

        Raises:
            StoreError: it cannot be written.
        """
        self._write(
            self._folder / f"{run_id}{_PICK_ENDING}", msgspec.json.format(msgspec.json.encode(pick), indent=1), _PICK
        )

    def read_run(self, run_id: str) -> tuple[Run, bytes]:
        """A run and its bytes, by its whole id.

        Raises:
            RunUnreadable: damaged, of another schema, or not readable at all.
        """
        path = self._folder / f"{run_id}.json"
        content = _read(path)
        try:
            schema = _ENVELOPE.decode(content).schema
        except msgspec.MsgspecError as error:
            raise _damaged(path, error) from error
        if schema != SCHEMA:
            message = f"{path}: has schema {schema}, this edgeopt reads {SCHEMA}"
            raise RunUnreadable(
                message, hint="Read it with the edgeopt that wrote it, or a newer one: pip install --upgrade edgeopt"
            )
        return _decode(path, content, _RUN), content

    def read_pick(self, run_id: str) -> Pick | None:
        """The latest pick from a run; None when none was saved.

        Raises:
            RunUnreadable: damaged, or not readable at all.
        """
        path = self._folder / f"{run_id}{_PICK_ENDING}"
        return _decode(path, _read(path), _PICK) if path.exists() else None

    def ids(self) -> list[str]:
        """Ids of all runs, oldest first: they begin with the time.

        Raises:
            StoreError: the folder cannot be read.
        """
        try:
            names = [path.name for path in self._folder.iterdir()] if self._folder.exists() else []
        except OSError as error:
            raise StoreError(
                f"{self._folder}: cannot be read: {error.strerror}", hint="Check the folder's owner."
            ) from error
        return sorted(
            stem for name in names if name.endswith(".json") and _ID.fullmatch(stem := name.removesuffix(".json"))
        )

    def resolve(self, name: str) -> str:
        """The id that `name` stands for: a whole id, an unambiguous beginning of one, or `last`.

        Raises:
            UnknownName: unknown-run: none, or several.
        """
        known = self.ids()
        if name == LAST and known:
            return known[-1]
        if name in known:
            return name
        found = [run_id for run_id in known if name and run_id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            message = f'"{name}" begins {len(found)} runs: {", ".join(found[-5:])}'
            raise UnknownName(message, hint="Write more of the id.", code="unknown-run")
        message = f'no run "{name}" among {len(known)}' if known else "no runs have been saved yet"
        raise UnknownName(message, hint="See `edgeopt runs list`; `last` is the newest.", code="unknown-run")

    def _write(self, path: Path, content: bytes, decoder: msgspec.json.Decoder[Any]) -> None:
        """Write what is certain to be read back: NaN has no JSON, and a run that cannot be read is no run."""
        try:
            decoder.decode(content)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path.name}: not written, because it could not be read back: {error}") from error
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(path, content, mode=0o600)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror or error}", hint=_SPACE) from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RunUnreadable(f"{path}: is larger than {MAX_FILE_BYTES:,} bytes", hint="No run is: remove it.")
        return path.read_bytes()
    except OSError as error:
        raise RunUnreadable(
            f"{path}: cannot be read: {error.strerror or error}", hint="Check that the file is there and yours."
        ) from error


def _decode(path: Path, content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunUnreadable:
    return RunUnreadable(
        f"{path}: damaged, or not from this edgeopt: {error}", hint=f"Restore it from a backup, or remove {path.name}."
    )
