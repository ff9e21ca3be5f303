"""`local:`, this computer as a device: each command is a child in a session of its own."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from edgeopt.errors import LinkError, LinkLost, LinkTimeout
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.file_errors import read_error, short_target, too_large, write_error
from edgeopt.transport.files import Bounded, copy, open_source, receiving
from edgeopt.transport.link import Completed, Progress
from edgeopt.transport.process import Output, ProcessStream, complete

NOT_FOUND, NOT_RUNNABLE = 127, 126
"""What a shell answers; a local device answers alike, so that nobody above has to know which way it was."""

_WRITE_BYTES = 64 << 10
_TICK_S = 0.25


class LocalLink:
    """A `Link` to this computer.

    Args:
        name: how messages call the device.
        environment: of the commands; None is this process's own. `HOME` is the folder that they start in, as a login would.
        stall_timeout_s: a command that takes no input for so long is a LinkTimeout.
    """

    def __init__(
        self, *, name: str = "local", environment: Mapping[str, str] | None = None, stall_timeout_s: float = 20.0
    ) -> None:
        self._name = name
        self._environment = dict(os.environ if environment is None else environment)
        self._stall_timeout_s = stall_timeout_s
        self._streams: list[ProcessStream] = []
        self._closed = False

    def run(self, argv: Sequence[str], stdin: bytes = b"", deadline_s: float = 30.0) -> Completed:
        """Run a command to its end."""
        process = self._spawn(argv)
        if isinstance(process, Completed):
            return process
        return complete(process, stdin, deadline_s, f"{self._name}: {argv[0]}")

    def start(self, argv: Sequence[str]) -> ProcessStream:
        """Start a command and talk with it."""
        process = self._spawn(argv)
        if isinstance(process, Completed):
            raise LinkError(f"{self._name}: {process.stderr.decode()}")
        stream = ProcessStream(process, f"{self._name}: {argv[0]}")
        self._streams.append(stream)
        return stream

    def put(self, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None) -> int:
        """Copy a file; see `Link`."""
        self._check_open()
        with open_source(local, offset) as source:
            try:
                return self._append(source, remote, offset, progress)
            except OSError as error:
                raise write_error(error.errno, self._name, remote, error.strerror or str(error)) from error

    def _append(self, source: IO[bytes], remote: str, offset: int, progress: Progress | None) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC | (0 if offset else os.O_CREAT | os.O_TRUNC)
        # The umask decides, as it does for `cat >`.
        with os.fdopen(os.open(remote, flags, 0o666), "wb", buffering=0) as target:
            if os.fstat(target.fileno()).st_size < offset:
                raise short_target(self._name, remote, offset)
            if offset:
                target.truncate(offset)
                target.seek(offset)
            return copy(source, target, offset, progress)

    def get(self, remote: str, local: Path, *, max_bytes: int, progress: Progress | None = None) -> int:
        """Copy a file, not more than `max_bytes`; see `Link`."""
        self._check_open()
        try:
            with Path(remote).open("rb", buffering=0) as source:
                size = os.fstat(source.fileno()).st_size
                if size > max_bytes:
                    raise too_large(self._name, remote, max_bytes)
                if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                    raise read_error(self._name, remote, "not a regular file")
                with receiving(local) as target:
                    bounded = Bounded(target, max_bytes, too_large(self._name, remote, max_bytes))
                    return copy(source, bounded, 0, progress)
        except OSError as error:
            raise read_error(self._name, remote, error.strerror or str(error)) from error

    def close(self) -> None:
        """End everything that was started."""
        self._closed = True
        while self._streams:
            self._streams.pop().close()

    def _check_open(self) -> None:
        if self._closed:
            raise LinkLost(f"{self._name}: the link is closed")

    def _spawn(self, argv: Sequence[str]) -> LocalProcess | Completed:
        self._check_open()
        if any("\0" in word for word in argv) or not argv:
            raise LinkError(f"{self._name}: a command has at least one word, and no NUL in any")
        program = shutil.which(argv[0], path=self._environment.get("PATH", os.defpath))
        if program is None:
            found = os.sep in argv[0] and Path(argv[0]).exists()
            why = f"{argv[0]}: {'permission denied' if found else 'not found'}"
            return Completed(exit_code=NOT_RUNNABLE if found else NOT_FOUND, stdout=b"", stderr=why.encode())
        try:
            child = self._popen(program, argv)
        except OSError as error:
            why = f"{argv[0]}: {error.strerror}"
            return Completed(exit_code=NOT_RUNNABLE, stdout=b"", stderr=why.encode())
        return LocalProcess(child, f"{self._name}: {argv[0]}", self._stall_timeout_s)

    def _popen(self, program: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        home = self._environment.get("HOME", "/")
        return subprocess.Popen(
            list(argv),
            executable=program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=self._environment,
            cwd=home if Path(home).is_dir() else "/",
            start_new_session=True,
        )


class LocalProcess:
    """A child of this process, with its whole session; implements `edgeopt.transport.process.Process`."""

    def __init__(self, child: subprocess.Popen[bytes], name: str, stall_timeout_s: float) -> None:
        self._child = child
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        if child.stdin is None or child.stdout is None or child.stderr is None:
            raise ValueError("the child needs three pipes")
        self._stdin: IO[bytes] = child.stdin
        self._outputs: dict[Output, IO[bytes]] = {"stdout": child.stdout, "stderr": child.stderr}
        os.set_blocking(self._stdin.fileno(), False)
        self._killed = False

    def write(self, data: bytes) -> None:
        """Hand `data` to the child as fast as it takes it."""
        standstill = Deadline(self._stall_timeout_s)
        left = memoryview(data)
        try:
            while left:
                if not _ready(self._stdin, select.POLLOUT, min(standstill.remaining, _TICK_S)):
                    if standstill.expired:
                        raise LinkTimeout(f"{self._name} took no input for {standstill.seconds:g} s")
                    continue
                left = left[os.write(self._stdin.fileno(), left[:_WRITE_BYTES]) :]
                standstill.renew()
        except (OSError, ValueError) as error:
            raise LinkLost(f"{self._name} does not read any more") from error

    def end_stdin(self) -> None:
        """Close the child's stdin."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def read(self, output: Output, limit: int, timeout_s: float) -> bytes:
        """Read what is there, or wait for it."""
        pipe = self._outputs[output]
        try:
            if not _ready(pipe, select.POLLIN, timeout_s):
                # A grandchild that left the session may hold the pipe for ever.
                if self._killed:
                    return b""
                raise LinkTimeout(f"{self._name} said nothing for {timeout_s:g} s")
            return os.read(pipe.fileno(), limit)
        except (OSError, ValueError) as error:
            raise LinkLost(f"{self._name}: its output was closed") from error

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the child's end; killed by signal N is -N."""
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill the child's process group: also what it left behind."""
        if self._killed:
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    def release(self) -> None:
        """Reap the child and close the pipes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(5.0)
        for pipe in (self._stdin, *self._outputs.values()):
            with contextlib.suppress(OSError):
                pipe.close()


def _ready(pipe: IO[bytes], event: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(timeout_s * 1000))
