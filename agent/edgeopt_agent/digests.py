"""sha256, with an eye on memory: the interpreter's own for a little, OpenSSL's (4 MB of library, but five times faster) for a lot."""

from __future__ import annotations

import json
import os
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CHUNK_BYTES = 1 << 20
_LOT_BYTES = 64 << 20
"""A quarter of a second for the slower one, on a desktop."""


def of_bytes(data: bytes) -> str:
    """Return the sha256 of a little data."""
    state = _start(len(data))
    state.update(data)
    return str(state.hexdigest())


def of_file(path: str, tick: Callable[[int], None] | None = None) -> tuple[str, int]:
    """Return the sha256 and the size of a regular file; links are not followed.

    Args:
        path: the file.
        tick: called with the bytes done so far after every MiB; what it raises ends the work.
    """
    done = 0
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as stream:
        state = _start(os.fstat(stream.fileno()).st_size)
        while True:
            count = stream.readinto(buffer)
            if not count:
                return str(state.hexdigest()), done
            state.update(view[:count])
            done += count
            if tick is not None:
                tick(done)


def _start(size: int) -> Any:
    """Return a fresh state of the implementation that suits so much data."""
    if size < _LOT_BYTES:
        for module in ("_sha2", "_sha256"):  # Python 3.12 and newer; older
            try:
                return import_module(module).sha256()
            except ImportError:
                continue
    import hashlib

    return hashlib.sha256()


def canonical(value: Any) -> bytes:
    """Return the one JSON text of `value` that digests are made of.

    Raises:
        ValueError: it has no such text (NaN, lone surrogates).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
