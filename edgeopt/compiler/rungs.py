"""What builds have in common, by content: `<cache>/rungs/<key>/` holds the files and `rung.json`, complete or absent; the oldest go when there is too much.

A rung is the state of a build behind one of its steps (`stages` names it, `states` writes and reads the files). Only parents write here; a child gets links in its own folder, so that
nothing is taken away from under it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeopt.compiler.cache import sync_folder, write_durably
from edgeopt.compiler.digests import describe_files
from edgeopt.domain.model import ModelFile

RECORD = "rung.json"
MAX_BYTES = 4 << 30
"""Of all rungs together."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A rung: its files, the remarks that were made on the way to it, and what that took, from the original on."""

    files: tuple[ModelFile, ...]
    notes: tuple[str, ...]
    build_s: float
    peak_memory_bytes: int | None


_DECODER = msgspec.json.Decoder(Kept)
# Made once, before threads: see `cache`.


class RungCache:
    """The folder of rungs. Several processes may use one: who comes second takes what is there."""

    def __init__(self, cache: Path) -> None:
        self.rungs = cache / "rungs"
        self.work = cache / "work"

    def has(self, key: str) -> bool:
        """Whether it seems to be there. `take` may still find it damaged."""
        return (self.rungs / key / RECORD).is_file()

    def take(self, key: str, folder: Path) -> Kept | None:
        """Link a rung's files into `folder`, which is made; None when there is no such rung. A damaged one is removed."""
        source = self.rungs / key
        try:
            kept = _DECODER.decode((source / RECORD).read_bytes())
            folder.mkdir()
            for file in kept.files:
                _link(source / file.path, folder / file.path)
            if describe_files(folder, [file.path for file in kept.files]) == kept.files:
                os.utime(source / RECORD)
                return kept
        except (OSError, msgspec.MsgspecError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        self._remove(source)
        return None

    def keep(
        self, key: str, folder: Path, *, notes: Sequence[str], build_s: float, peak_memory_bytes: int | None
    ) -> None:
        """Move a finished folder to its place, in one step, and make room for it."""
        files = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        kept = Kept(
            files=describe_files(folder, files),
            notes=tuple(notes),
            build_s=build_s,
            peak_memory_bytes=peak_memory_bytes,
        )
        write_durably(folder / RECORD, msgspec.json.format(msgspec.json.encode(kept), indent=1))
        self.rungs.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(self.rungs / key)
        except OSError:
            if not self.has(key):
                raise
        sync_folder(self.rungs)
        self._trim(key)

    def _trim(self, newest: str) -> None:
        """Remove what was not used for longest until the rest fits."""
        entries = []
        for folder in self.rungs.iterdir():
            with contextlib.suppress(OSError):
                used = (folder / RECORD).stat().st_mtime if self.has(folder.name) else 0.0
                entries.append((folder.name == newest, used, sum(p.stat().st_size for p in folder.iterdir()), folder))
        total = sum(size for _, _, size, _ in entries)
        for is_newest, _, size, folder in sorted(entries):
            if total <= MAX_BYTES or is_newest:
                return
            self._remove(folder)
            total -= size

    def _remove(self, folder: Path) -> None:
        """Out of the way in one step, then gone; whoever has its files linked still has them."""
        with contextlib.suppress(OSError):
            self.work.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="old-", dir=self.work, ignore_cleanup_errors=True) as place:
                folder.rename(Path(place) / folder.name)


def _link(source: Path, target: Path) -> None:
    """A second name where the file system has such, else a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target, follow_symlinks=False)
