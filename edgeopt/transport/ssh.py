"""`ssh://`: a device behind an SSH server.

Files travel through `cat` in an exec channel and not through SFTP: boards without sftp-server can be used, and it is faster where it counts (see docs/benchmarks.md). The
commands are fixed texts for the shell; paths go in as their parameters.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgeopt.errors import LinkError, LinkLost
from edgeopt.transport.address import SshAddress
from edgeopt.transport.file_errors import find_errno, printable, read_error, short_target, too_large, write_error
from edgeopt.transport.files import Bounded, Sink, Ticker, open_source, receiving, write_all
from edgeopt.transport.link import Completed, Progress
from edgeopt.transport.process import ProcessStream, complete
from edgeopt.transport.ssh_config import SshConfig
from edgeopt.transport.ssh_connect import Connection, Login, open_route
from edgeopt.transport.ssh_process import SshProcess

_SHORT = 75
_PUT = f"""
LC_ALL=C; export LC_ALL
if [ "$2" = 0 ]; then exec cat > "$1"; fi
have=$(wc -c < "$1") || exit 1
[ "$have" -ge "$2" ] || exit {_SHORT}
dd if=/dev/null of="$1" bs=1 seek="$2" 2> /dev/null || exit 1
exec cat >> "$1"
"""
# dd copies nothing here: it cuts the file off at byte `seek`, for which POSIX has no other command.
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
_STDERR_TIMEOUT_S = 1.0
_CLOSE_TIMEOUT_S = 5.0


def connect(
    address: SshAddress,
    *,
    known_hosts: Path,
    identity: Path | None,
    connect_timeout_s: float,
    name: str,
    stall_timeout_s: float,
) -> SshLink:
    """Open a link; see `edgeopt.transport.open.open_link`."""
    home = Path.home()
    login = Login(
        known_hosts=known_hosts,
        identity=identity,
        home=home,
        name=name,
        connect_timeout_s=connect_timeout_s,
        stall_timeout_s=stall_timeout_s,
    )
    return SshLink(open_route(SshConfig.read(home).route(address), login), name, stall_timeout_s)


class SshLink:
    """A `Link` over an authenticated connection, which it owns."""

    def __init__(self, connection: Connection, name: str, stall_timeout_s: float) -> None:
        self._connection = connection
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        self._streams: list[ProcessStream] = []
        self._closed = False

    def run(self, argv: Sequence[str], stdin: bytes = b"", deadline_s: float = 30.0) -> Completed:
        """Run a command to its end."""
        name = self._label(argv)
        process = self._spawn(argv, name, min(self._stall_timeout_s, deadline_s))
        return complete(process, stdin, deadline_s, name)

    def start(self, argv: Sequence[str]) -> ProcessStream:
        """Start a command and talk with it."""
        name = self._label(argv)
        stream = ProcessStream(self._spawn(argv, name, self._stall_timeout_s), name)
        self._streams.append(stream)
        return stream

    def put(self, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None) -> int:
        """Copy a file; see `Link`."""
        with open_source(local, offset) as source:
            argv = ["sh", "-c", _PUT, "put", remote, str(offset)]
            process = self._spawn(argv, f"{self._name}: the upload of {local.name}", self._stall_timeout_s)
            try:
                sent, code = _upload(source, process, offset, progress)
                if code == _SHORT:
                    raise short_target(self._name, remote, offset)
                if code != 0:
                    said = _stderr(process)
                    raise write_error(find_errno(said), self._name, remote, said)
                return sent
            finally:
                process.kill()

    def get(self, remote: str, local: Path, *, max_bytes: int, progress: Progress | None = None) -> int:
        """Copy a file, not more than `max_bytes`; see `Link`."""
        mark = secrets.token_hex(16)
        argv = ["sh", "-c", _GET, "get", remote, mark]
        process = self._spawn(argv, f"{self._name}: the download of {remote}", self._stall_timeout_s)
        try:
            with receiving(local) as target:
                bounded = Bounded(target, max_bytes, too_large(self._name, remote, max_bytes))
                received = _download(process, mark, bounded, self._stall_timeout_s, progress)
                if received is None or process.drain() != 0:
                    raise read_error(self._name, remote, _stderr(process))
                return received
        finally:
            process.kill()

    def close(self) -> None:
        """End everything that was started, then the connection. What does not end in time is cut off."""
        if self._closed:
            return
        self._closed = True
        # In a thread: after a Ctrl-C inside paramiko one of its locks may be held by nobody.
        polite = threading.Thread(target=self._close_streams, name="close", daemon=True)
        try:
            polite.start()
            polite.join(_CLOSE_TIMEOUT_S)
        finally:
            self._connection.close()

    def _label(self, argv: Sequence[str]) -> str:
        return f"{self._name}: {argv[0] if argv else 'a command'}"

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.close()

    def _spawn(self, argv: Sequence[str], name: str, timeout_s: float) -> SshProcess:
        if self._closed:
            raise LinkLost(f"{self._name}: the link is closed")
        return SshProcess(self._connection, argv, name, timeout_s)


def _upload(source: IO[bytes], process: SshProcess, offset: int, progress: Progress | None) -> tuple[int, int]:
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


def _download(process: SshProcess, mark: str, target: Sink, timeout_s: float, progress: Progress | None) -> int | None:
    """Return the bytes received, None when the file could not even be opened."""
    process.end_stdin()
    sign, buffer = f"\n{mark} ".encode(), b""
    while sign not in buffer or b"\n" not in buffer.partition(sign)[2]:
        data = process.read("stdout", _BLOCK_BYTES, timeout_s)
        buffer += data
        if not data or (len(buffer) > _MAX_NOISE_BYTES and sign not in buffer):
            return None
    size, _, data = buffer.partition(sign)[2].partition(b"\n")
    ticker, received = Ticker(progress, int(size)), 0
    data = data or process.read("stdout", _BLOCK_BYTES, timeout_s)
    while data:
        write_all(target, data)
        received += len(data)
        ticker.at(received)
        data = process.read("stdout", _BLOCK_BYTES, timeout_s)
    return received


def _stderr(process: SshProcess) -> str:
    said = b""
    with contextlib.suppress(LinkError):
        while len(said) < _MAX_NOISE_BYTES and (data := process.read("stderr", _MAX_NOISE_BYTES, _STDERR_TIMEOUT_S)):
            said += data
    return printable(said)
