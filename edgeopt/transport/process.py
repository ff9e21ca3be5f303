"""A running command, whatever the way: what local, SSH and fake devices each provide, and what is built on it once.

`complete` runs a command to its end with bounded memory; `ProcessStream` is a conversation with one. Both own the process that they are given.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Literal, Protocol

from edgeopt.errors import LinkError, LinkTimeout
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.link import Completed

OUTPUT_LIMIT_BYTES = 1 << 20
"""Of each stream of a finished command."""

STDERR_TAIL_BYTES = 64 << 10

ENDED_BY_US = -9
"""Exit code of a command that was killed because it said too much."""

_GRACE_S = 3.0
_TICK_S = 0.25
_CHUNK_BYTES = 64 << 10

Output = Literal["stdout", "stderr"]


class Process(Protocol):
    """One command with three pipes. Reading each pipe and writing may happen in different threads."""

    def write(self, data: bytes) -> None:
        """Hand all of `data` to stdin. Raises LinkLost (the way broke or nobody reads any more) or LinkTimeout (a standstill)."""

    def end_stdin(self) -> None:
        """Close stdin. Never raises."""

    def read(self, output: Output, limit: int, timeout_s: float) -> bytes:
        """Return 1 to `limit` bytes, b"" at the end. Raises LinkTimeout when nothing comes in time, LinkLost."""

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, None when it is still running. Raises LinkLost when nobody will ever say."""

    def kill(self) -> None:
        """End the command and its children, now. Never raises."""

    def release(self) -> None:
        """Give back pipes and channels; the command was killed or has ended. Never raises."""


class _Capture:
    """What one pipe said, up to the limit; one byte more kills the command, so that 10 GB of output cost 1 MiB."""

    def __init__(self, process: Process, output: Output) -> None:
        self._process = process
        self._output = output
        self._kept = bytearray()
        self.truncated = False
        self.error: LinkError | None = None

    def drain(self, deadline: Deadline) -> None:
        try:
            while not deadline.expired:
                # Short waits: the other pipe's reader may have killed the command meanwhile.
                with contextlib.suppress(LinkTimeout):
                    data = self._process.read(self._output, _CHUNK_BYTES, min(deadline.remaining, _TICK_S))
                    if not data:
                        return
                    if not self._keep(data):
                        return
        except LinkError as error:
            self.error = error

    def _keep(self, data: bytes) -> bool:
        self._kept += data[: OUTPUT_LIMIT_BYTES - len(self._kept) + 1]
        if len(self._kept) <= OUTPUT_LIMIT_BYTES:
            return True
        self.truncated = True
        self._process.kill()
        return False

    @property
    def data(self) -> bytes:
        return bytes(self._kept[:OUTPUT_LIMIT_BYTES])


def complete(process: Process, stdin: bytes, deadline_s: float, name: str) -> Completed:
    """Run a command to its end and return what it said.

    Args:
        process: just started; it is killed and released when this returns or raises, however.
        stdin: all of its input.
        deadline_s: wall clock, in seconds.
        name: device and command, for messages.

    Raises:
        LinkTimeout: it did not end in time, or does not take its input.
        LinkLost: the way broke.
    """
    deadline = Deadline(deadline_s)
    stdout, stderr = _Capture(process, "stdout"), _Capture(process, "stderr")
    feeder = _Feeder(process, stdin)
    listener = threading.Thread(target=stderr.drain, args=(deadline,), name=f"stderr of {name}", daemon=True)
    try:
        feeder.start()
        listener.start()
        stdout.drain(deadline)
        listener.join(deadline.remaining + 2 * _TICK_S)
        if stdout.truncated or stderr.truncated:
            return Completed(exit_code=ENDED_BY_US, stdout=stdout.data, stderr=stderr.data, truncated=True)
        for error in (feeder.standstill, stdout.error, stderr.error):
            if error is not None:
                raise error
        code = process.wait(deadline.remaining)
        if code is None:
            raise LinkTimeout(f"{name} did not end within {deadline_s:g} s and was stopped")
        return Completed(exit_code=code, stdout=stdout.data, stderr=stderr.data)
    finally:
        process.kill()
        process.release()


class _Feeder(threading.Thread):
    """Writes stdin while the others read, so that a command that talks while it listens cannot deadlock with us."""

    def __init__(self, process: Process, stdin: bytes) -> None:
        super().__init__(name="stdin", daemon=True)
        self._process = process
        self._stdin = stdin
        self.standstill: LinkTimeout | None = None

    def run(self) -> None:
        try:
            if self._stdin:
                self._process.write(self._stdin)
            self._process.end_stdin()
        except LinkTimeout as error:
            # An early end of stdin would look like all of the input: better no command than a wrong one.
            self.standstill = error
            self._process.kill()
        except LinkError:
            # It ended without reading everything, as `head` does; or the way broke, and then the readers notice.
            self._process.end_stdin()


class ProcessStream:
    """The `Stream` of every link: stderr is drained by a thread, so that a chatty command never blocks on it."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._name = name
        self._tail = bytearray()
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, name=f"stderr of {name}", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                data = self._process.read("stderr", _CHUNK_BYTES, _TICK_S)
            except LinkTimeout:
                continue
            except LinkError:
                return
            if not data:
                return
            self._tail += data
            del self._tail[:-STDERR_TAIL_BYTES]

    def write(self, data: bytes) -> None:
        """Send all of `data` to stdin."""
        self._process.write(data)

    def read(self, limit: int, timeout_s: float) -> bytes:
        """Return 1 to `limit` bytes of stdout, or b"" at its end."""
        return self._process.read("stdout", limit, timeout_s)

    def stderr_tail(self) -> bytes:
        """Return the last 64 KiB of stderr so far."""
        return bytes(self._tail[-STDERR_TAIL_BYTES:])

    def exit_code(self, timeout_s: float) -> int | None:
        """Wait for the end. After it, what the command wrote to stderr is all in `stderr_tail`."""
        code = self._process.wait(timeout_s)
        if code is not None:
            self._listener.join(2 * _TICK_S)
        return code

    def close(self) -> None:
        """Close stdin, give the command a moment to clean up after itself, then kill what is left."""
        if self._closed.is_set():
            return
        self._process.end_stdin()
        try:
            with contextlib.suppress(LinkError):
                self._process.wait(_GRACE_S)
        finally:
            # Also when Ctrl-C comes while we wait.
            self._closed.set()
            self._process.kill()
            self._listener.join(4 * _TICK_S)
            self._process.release()
