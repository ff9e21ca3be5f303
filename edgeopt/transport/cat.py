"""Files through `cat` in a shell on the other side, for every way that runs commands there.

The commands are fixed texts for the shell; paths go in as their parameters.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from edgeopt.errors import LinkError, LinkLost
from edgeopt.transport.file_errors import find_errno, printable, read_error, short_target, too_large, write_error
from edgeopt.transport.files import Bounded, Sink, Ticker, open_source, receiving, write_all
from edgeopt.transport.link import Progress
from edgeopt.transport.process import Process

_SHORT = 75
_PUT = f"""
LC_ALL=C; export LC_ALL
if [ "$2" = 0 ]; then exec cat > "$1"; fi
have=$(wc -c < "$1") || exit 1
[ "$have" -ge "$2" ] || exit {_SHORT}
truncate -s "$2" "$1" 2> /dev/null || dd if=/dev/null of="$1" bs=1 seek="$2" 2> /dev/null || exit 1
exec cat >> "$1"
"""
# dd copies nothing here: it cuts the file off at byte `seek`, for which POSIX has no other command. That of Android does not; it has truncate.
_GET = """
LC_ALL=C; export LC_ALL
if [ -e "$1" ] && [ ! -f "$1" ]; then echo 'not a regular file' >&2; exit 1; fi
size=$(wc -c < "$1") || exit 1
printf '\\n%s %s\\n' "$2" "$size"
exec cat < "$1"
"""
# The mark, because login shells print things.
_MAX_NOISE_BYTES = 64 << 10
_BLOCK_BYTES = 256 << 10
_LONGEST_SIZE = 18
"""Digits of the size of a file."""
_STDERR_TIMEOUT_S = 1.0


class Draining(Process, Protocol):
    """A command that can be waited for as long as something moves."""

    def drain(self) -> int:
        """Wait until the other side has taken everything and ended; returns the exit code. Raises LinkLost, LinkTimeout."""


Spawn = Callable[[Sequence[str], str], Draining]
"""(argv, what it is for, for messages) -> the command, begun."""


def put_file(
    spawn: Spawn, name: str, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None
) -> int:
    """Copy a file to the device `name`; see `Link.put`."""
    with open_source(local, offset) as source:
        process = spawn(["sh", "-c", _PUT, "put", remote, str(offset)], f"the upload of {local.name}")
        try:
            sent, code = _upload(source, process, offset, progress)
            if code == _SHORT:
                raise short_target(name, remote, offset)
            if code != 0:
                said = _stderr(process)
                raise write_error(find_errno(said), name, remote, said)
            return sent
        finally:
            process.kill()
            process.release()


def get_file(
    spawn: Spawn,
    name: str,
    remote: str,
    local: Path,
    *,
    max_bytes: int,
    timeout_s: float,
    progress: Progress | None = None,
) -> int:
    """Copy a file from the device `name`, not more than `max_bytes`; see `Link.get`. Each read waits `timeout_s` at most."""
    mark = secrets.token_hex(16)
    process = spawn(["sh", "-c", _GET, "get", remote, mark], f"the download of {remote}")
    try:
        with receiving(local) as target:
            bounded = Bounded(target, max_bytes, too_large(name, remote, max_bytes))
            received = _download(process, mark, bounded, timeout_s, progress)
            if received is None or process.drain() != 0:
                raise read_error(name, remote, _stderr(process))
            return received
    finally:
        process.kill()
        process.release()


def _upload(source: IO[bytes], process: Draining, offset: int, progress: Progress | None) -> tuple[int, int]:
    """Return (bytes sent, exit code)."""
    ticker = Ticker(progress, os.fstat(source.fileno()).st_size)
    done = offset
    try:
        while data := source.read(_BLOCK_BYTES):
            process.write(data)
            done += len(data)
            ticker.at(done)
        process.end_stdin()
        return done - offset, process.drain()
    except LinkLost:
        # Either the way broke, or `cat` did: a full disk ends it in mid-upload, and its exit code follows.
        code = process.wait(1.0)
        if not code:
            raise
        return done - offset, code


def _download(process: Draining, mark: str, target: Sink, timeout_s: float, progress: Progress | None) -> int | None:
    """Return the bytes received, None when the file could not even be opened."""
    process.end_stdin()
    sign, buffer = f"\n{mark} ".encode(), b""
    while sign not in buffer or b"\n" not in buffer.partition(sign)[2]:
        data = process.read("stdout", _BLOCK_BYTES, timeout_s)
        buffer += data
        if not data or (len(buffer) > _MAX_NOISE_BYTES and sign not in buffer):
            return None
    size, _, data = buffer.partition(sign)[2].partition(b"\n")
    if not size.isdigit() or len(size) > _LONGEST_SIZE:
        return None
    ticker, received = Ticker(progress, int(size)), 0
    data = data or process.read("stdout", _BLOCK_BYTES, timeout_s)
    while data:
        write_all(target, data)
        received += len(data)
        ticker.at(received)
        data = process.read("stdout", _BLOCK_BYTES, timeout_s)
    return received


def _stderr(process: Draining) -> str:
    said = b""
    with contextlib.suppress(LinkError):
        while len(said) < _MAX_NOISE_BYTES and (data := process.read("stderr", _MAX_NOISE_BYTES, _STDERR_TIMEOUT_S)):
            said += data
    return printable(said)
