"""`adb://`: a phone behind Android's debug bridge, by the platform's own client as a child process.

The client keeps the streams apart and tells the exit code, but it says 0 when the cable is pulled in the middle of a command. So the command's shell tells its end on stderr, and
what ends without that was cut off. Files travel through `cat` (`edgeopt.transport.cat`), which goes on where it stopped; `adb push` begins anew.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import subprocess
import threading
from collections.abc import Sequence

from edgeopt.errors import LinkError, LinkLost, LinkTimeout, Unreachable
from edgeopt.transport.adb_client import Client, complaint
from edgeopt.transport.address import AdbAddress
from edgeopt.transport.local import LocalProcess
from edgeopt.transport.process import Output
from edgeopt.transport.quote import Tracker, command_line
from edgeopt.transport.shell_link import ShellLink

MAX_COMMAND_BYTES = 60_000
"""The client tells the server the length of a command in four hexadecimal digits."""

_LOST = "Plug the phone in again and run the same command again; uploads go on where they stopped."
_KILL_TIMEOUT_S = 3.0
_TICK_S = 0.25
_READ_BYTES = 64 << 10
_WORDS_BYTES = 8 << 10
_DRAIN_TIMES = 3.0
"""What the client and its server hold back of an upload may take so many times the longest standstill until it is on the phone."""
_BROKEN = (0, 1, 255)
"""What the client ends with when the connection breaks: 0 in the versions tried; the others are its word for an error."""


def connect(address: AdbAddress, *, connect_timeout_s: float, name: str, stall_timeout_s: float) -> AdbLink:
    """Open a link; see `edgeopt.transport.open.open_link`."""
    client = Client(name)
    serial = client.find(address, connect_timeout_s)
    return AdbLink(client.program, serial, name, stall_timeout_s)


class AdbLink(ShellLink):
    """A `Link` to one phone, which is connected and lets this computer in.

    Args:
        program: path of the client.
        serial: of the phone.
        name: how messages call it.
        stall_timeout_s: a transfer in which nothing moves for so long is given up.
    """

    def __init__(self, program: str, serial: str, name: str, stall_timeout_s: float) -> None:
        super().__init__(name, stall_timeout_s)
        self._prefix = [program, "-s", serial, "shell", "-T"]

    def close(self) -> None:
        """End everything that was started. The client's server stays: others may use it."""
        self._closed = True
        while self._streams:
            self._streams.pop().close()

    def _begin(self, argv: Sequence[str], name: str, timeout_s: float) -> AdbProcess:  # noqa: ARG002 - the client takes a command at once
        return AdbProcess(self._prefix, argv, name, self._stall_timeout_s)


class AdbProcess:
    """One command on the phone, and the client's process that carries it; implements `edgeopt.transport.process.Process`.

    Args:
        prefix: the client's words up to the command line.
        argv: quoted here for the phone's shell.
        name: device and command, for messages.
        stall_timeout_s: for each piece of stdin to be taken.

    Raises:
        LinkError: no shell could take it, or the client cannot be started.
    """

    def __init__(self, prefix: Sequence[str], argv: Sequence[str], name: str, stall_timeout_s: float) -> None:
        mark = secrets.token_hex(16)
        line = command_line(argv, name, mark, is_end_told=True, max_bytes=MAX_COMMAND_BYTES)
        self._prefix = prefix
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        self._tracker = Tracker(mark)
        self._stderr = bytearray()
        self._words = b""
        self._is_stderr_over = False
        self._is_killed = False
        self._reading = threading.Lock()
        child = _start([*prefix, os.fsdecode(line)], name)
        self._local = LocalProcess(child, name, stall_timeout_s)
        self._pipe = child.stderr.fileno() if child.stderr is not None else -1
        os.set_blocking(self._pipe, False)

    def write(self, data: bytes) -> None:
        """Hand `data` to the client as fast as it takes it."""
        self._local.write(data)

    def end_stdin(self) -> None:
        """Close stdin; the client tells the phone."""
        self._local.end_stdin()

    def read(self, output: Output, limit: int, timeout_s: float) -> bytes:
        """Read what is there, or wait for it."""
        if output == "stderr":
            return self._read_stderr(limit, timeout_s)
        data = self._local.read("stdout", limit, timeout_s)
        if not data and not self._is_killed:
            # The client closes its stdout only when it ends, and then it is to be seen how.
            self.wait(_KILL_TIMEOUT_S)
        return data

    def _read_stderr(self, limit: int, timeout_s: float) -> bytes:
        while not self._stderr and not self._is_stderr_over:
            if not self._pull(timeout_s):
                if self._is_killed:
                    return b""
                raise LinkTimeout(f"{self._name} said nothing for {timeout_s:g} s")
        with self._reading:
            taken = bytes(self._stderr[:limit])
            del self._stderr[:limit]
        return taken

    def _pull(self, timeout_s: float) -> bool:
        """Take what is in the client's stderr, waiting for it; False when nothing came."""
        poll = select.poll()
        try:
            poll.register(self._pipe, select.POLLIN)
            if not poll.poll(timeout_s * 1000):
                return False
            with self._reading:
                if self._is_stderr_over:
                    return True
                data = os.read(self._pipe, _READ_BYTES)
                passed = self._tracker.feed(data)
                self._stderr += passed
                self._words = (self._words + passed)[:_WORDS_BYTES]
                self._is_stderr_over = not data
        except BlockingIOError:
            return True  # another thread took it
        except (OSError, ValueError) as error:
            raise LinkLost(f"{self._name}: its output was closed") from error
        return True

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end; what the phone said last is taken then.

        Raises:
            LinkLost: the client ended, the command did not.
            LinkError: it never began, for what the client said.
        """
        code = self._local.wait(timeout_s)
        if code is None or self._is_killed:
            return code
        with contextlib.suppress(LinkError):
            while not self._is_stderr_over and self._pull(_TICK_S):
                pass
        if self._tracker.code is not None:
            return self._tracker.code
        if self._tracker.group is None and self._words.strip():
            self._raise_complaint()
        if self._tracker.group is None or code in _BROKEN:
            raise LinkLost(f"{self._name}: the connection to the phone broke", hint=_LOST)
        return code

    def _raise_complaint(self) -> None:
        """The phone was there when the link was opened: if the client does not find it now, it was unplugged."""
        error = complaint(self._words.decode("utf-8", "replace"), self._name.partition(":")[0])
        if isinstance(error, Unreachable):
            raise LinkLost(f"{self._name}: the connection to the phone broke", hint=_LOST) from error
        raise error

    def drain(self) -> int:
        """Wait until the phone has taken everything and the command ended.

        Raises:
            LinkLost, LinkTimeout.
        """
        limit_s = _DRAIN_TIMES * self._stall_timeout_s
        code = self.wait(limit_s)
        if code is None:
            raise LinkTimeout(f"{self._name}: no end within {limit_s:g} s after all was sent", hint=_LOST)
        return code

    def kill(self) -> None:
        """Kill the command and its children on the phone, then the client."""
        if self._is_killed:
            return
        self._is_killed = True
        if self._local.wait(0.0) is None:
            with contextlib.suppress(LinkError):
                while self._tracker.group is None and self._pull(_TICK_S) and not self._is_stderr_over:
                    pass
            if self._tracker.group is not None and self._tracker.code is None:
                self._kill_there(self._tracker.group)
        self._local.kill()

    def _kill_there(self, group: int) -> None:
        """The group's leader waits for our command, so the number is not somebody else's."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [*self._prefix, f"kill -s KILL -- -{group}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_KILL_TIMEOUT_S,
                check=False,
                start_new_session=True,
            )

    def release(self) -> None:
        """Reap the client and close the pipes."""
        self._local.release()


def _start(argv: Sequence[str], name: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise LinkError(f"{name}: the adb client cannot be started: {error.strerror}", code="adb-error") from error
