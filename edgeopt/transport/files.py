"""This computer's end of an upload or a download."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from edgeopt.errors import LinkError
from edgeopt.transport.link import Progress

CHUNK_BYTES = 1 << 20
_PROGRESS_S = 0.1


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: memoryview, /) -> int | None:
        """Take some of `data` and say how many bytes."""


class Ticker:
    """Tells of progress, at most ten times a second and once at the end."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._told = 0.0

    def at(self, done: int) -> None:
        """`done` bytes of all have moved."""
        if self._progress is None:
            return
        now = time.monotonic()
        if now - self._told >= _PROGRESS_S or done >= self._total:
            self._told = now
            self._progress(done, self._total)


class Bounded:
    """A sink that takes `max_bytes` and raises `error` at the first byte more: what a device says of a file's size is not trusted."""

    def __init__(self, target: Sink, max_bytes: int, error: LinkError) -> None:
        self._target = target
        self._left = max_bytes
        self._error = error

    def write(self, data: memoryview, /) -> int | None:
        """Take some of `data`."""
        if len(data) > self._left:
            raise self._error
        taken = self._target.write(data) or 0
        self._left -= taken
        return taken


def open_source(local: Path, offset: int) -> IO[bytes]:
    """Open a file of this computer for sending from `offset` on, unbuffered. Raises LinkError."""
    try:
        source = local.open("rb", buffering=0)
    except OSError as error:
        raise LinkError(f"{local} on this computer cannot be read: {error.strerror}") from error
    size = os.fstat(source.fileno()).st_size
    if not 0 <= offset <= size:
        source.close()
        raise LinkError(f"{local} has {size} bytes; sending cannot begin at byte {offset}")
    source.seek(offset)
    return source


@contextlib.contextmanager
def receiving(local: Path) -> Iterator[IO[bytes]]:
    """Open a file for what comes from a device; it gets its name only when everything arrived. Raises LinkError."""
    part = local.with_name(f".{local.name}.{os.getpid()}.part")
    try:
        target = part.open("wb", buffering=0)
    except OSError as error:
        raise LinkError(f"{local} on this computer cannot be written: {error.strerror}") from error
    try:
        with target:
            yield target
        part.replace(local)
    finally:
        part.unlink(missing_ok=True)


def copy(source: IO[bytes], target: Sink, offset: int, progress: Progress | None) -> int:
    """Copy what is left of `source`, whose first `offset` bytes are there already; returns the bytes copied."""
    ticker = Ticker(progress, os.fstat(source.fileno()).st_size)
    done = offset
    while data := source.read(CHUNK_BYTES):
        write_all(target, data)
        done += len(data)
        ticker.at(done)
    return done - offset


def write_all(target: Sink, data: bytes) -> None:
    """Write all of `data`; unbuffered files may take less at a time."""
    left = memoryview(data)
    while left:
        left = left[target.write(left) or 0 :]
