"""Content by digest: a folder of files named by their sha256, that may be thrown away at any time and is bounded in size."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edgeopt.errors import StoreError

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def file_digest(path: Path) -> str:
    """sha256 of a file in hex.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomic(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file whole or not at all; a reader sees the old content or the new, also after a power cut. `mode` is subject to the umask.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    _replace(path, lambda stream: stream.write(content), mode)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Blobs:
    """A cache folder of content, named by digest. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep `content`; returns its digest.

        Raises:
            StoreError: the folder cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        self._keep(digest, lambda stream: stream.write(content))
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file; returns its digest, taken from the bytes that were copied.

        Raises:
            StoreError: the file cannot be read, changed while it was, or the folder cannot be written.
        """
        try:
            digest = file_digest(path)
        except OSError as error:
            raise _failed(path, "read", error) from error
        self._keep(digest, lambda stream: _copy(path, stream, digest))
        return digest

    def get(self, digest: str) -> Path | None:
        """The file with this content, None when it is not kept (or no longer what its name says: then it is removed).

        Raises:
            StoreError: the folder cannot be read.
            ValueError: not a digest.
        """
        path = self._path(digest)
        try:
            if file_digest(path) == digest:
                os.utime(path)
                return path
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(path, "read", error) from error
        return None

    def collect(self, max_bytes: int) -> int:
        """Remove what was used longest ago until at most `max_bytes` are kept; returns the bytes that were freed.

        Raises:
            StoreError: the folder cannot be written.
        """
        freed = 0
        try:
            kept = sorted(
                (path.stat().st_mtime_ns, path.stat().st_size, path)
                for path in self._folder.glob("??/*")
                if path.is_file()
            )
            excess = sum(size for _, size, _ in kept) - max_bytes
            for _, size, path in kept:
                if freed >= excess:
                    break
                path.unlink(missing_ok=True)
                freed += size
        except OSError as error:
            raise _failed(self._folder, "cleaned", error) from error
        return freed

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is not a sha256 in hex")
        return self._folder / digest[:2] / digest

    def _keep(self, digest: str, write: Callable[[BinaryIO], object]) -> None:
        path = self._path(digest)
        try:
            if self.get(digest) is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, write, 0o666)
        except OSError as error:
            raise _failed(path, "written", error) from error


def _copy(path: Path, stream: BinaryIO, digest: str) -> None:
    """Copy a file, and see that it is still what was hashed."""
    seen = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            seen.update(chunk)
            stream.write(chunk)
    if seen.hexdigest() != digest:
        raise StoreError(
            f"{path}: changed while it was read", hint="Wait until whatever writes it is done, and try again."
        )


def _replace(path: Path, write: Callable[[BinaryIO], object], mode: int) -> None:
    """Write beside `path`, flush to the disk, rename over it."""
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _failed(path: Path, done: str, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be {done}: {error.strerror or error}",
        hint="Check the free space and the owner of edgeopt's folders (EDGEOPT_HOME moves them).",
    )
