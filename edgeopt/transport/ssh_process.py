"""A command on the other side of an SSH connection."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence

import paramiko

from edgeopt.errors import LinkError, LinkLost, LinkTimeout
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.process import Output
from edgeopt.transport.quote import GroupFinder, command_line
from edgeopt.transport.ssh_connect import Connection

_TICK_S = 0.25
_PACKET_OVERHEAD = 64
_LOST = "Run the same command again; uploads go on where they stopped."
_KILL_TIMEOUT_S = 3.0


@contextlib.contextmanager
def translated(connection: Connection, name: str, stall_timeout_s: float) -> Iterator[None]:
    """The seam: whatever paramiko and the socket raise inside leaves as LinkLost or LinkTimeout."""
    try:
        yield
    except paramiko.ChannelException as error:
        raise LinkError(
            f"{name}: the SSH server opens no further channel: {error.text}", hint="MaxSessions in its sshd_config."
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if connection.guard.fired or "Timeout" in str(error):
            raise LinkTimeout(f"{name}: nothing moved for {stall_timeout_s:g} s", hint=_LOST) from error
        raise LinkLost(f"{name}: the connection broke", hint=_LOST) from error


class SshProcess:
    """One command in a channel of its own; implements `edgeopt.transport.process.Process`.

    Args:
        connection: to the device.
        argv: quoted here for the login shell that stands in between.
        name: device and command, for messages.
        stall_timeout_s: for each answer, and for each piece of stdin to be taken.

    Raises:
        LinkLost, LinkTimeout, LinkError.
    """

    def __init__(self, connection: Connection, argv: Sequence[str], name: str, stall_timeout_s: float) -> None:
        mark = secrets.token_hex(16)
        line = command_line(argv, name, mark)
        self._group = GroupFinder(mark)
        self._connection = connection
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        with self._guarded():
            self._channel = connection.transport.open_session(timeout=stall_timeout_s)
            # Short waits that are repeated: reading and writing share this one setting.
            self._channel.settimeout(_TICK_S)
            self._channel.exec_command(line)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[Deadline]:
        deadline = Deadline(self._stall_timeout_s)
        with translated(self._connection, self._name, self._stall_timeout_s), self._connection.guard.watch(deadline):
            yield deadline

    def write(self, data: bytes) -> None:
        """Hand `data` to the channel, as fast as the other side takes it."""
        left, moved, standstill = memoryview(data), None, Deadline(self._stall_timeout_s)
        with self._guarded() as stuck:
            while left:
                # The guard is for a call that hangs, not for a command that does not read: that must not cost the connection.
                stuck.renew()
                try:
                    # A packet at a time: paramiko copies all that it is given.
                    sent = self._channel.send(bytes(left[: self._channel.out_max_packet_size - _PACKET_OVERHEAD]))
                except TimeoutError:
                    if standstill.expired:
                        raise self._nothing_moved() from None
                    before, moved = moved, self._moved()
                    if moved != before:
                        standstill.renew()
                    continue
                if sent == 0:
                    raise self._no_reader()
                left = left[sent:]
                standstill.renew()

    def _no_reader(self) -> LinkLost:
        if self._lost():
            return LinkLost(f"{self._name}: the connection broke", hint=_LOST)
        return LinkLost(f"{self._name} does not read any more")

    def _nothing_moved(self) -> LinkTimeout:
        return LinkTimeout(f"{self._name}: nothing moved for {self._stall_timeout_s:g} s", hint=_LOST)

    def _moved(self) -> tuple[int, int]:
        """Changes while anything moves: room that the other side gave, bytes that the network took."""
        return self._channel.out_window_size, self._connection.outstanding_bytes()

    def end_stdin(self) -> None:
        """Send the end of stdin."""
        with contextlib.suppress(LinkError), self._guarded():
            self._channel.shutdown_write()

    def read(self, output: Output, limit: int, timeout_s: float) -> bytes:
        """Read what is there, or wait for it."""
        if output == "stdout":
            return self._receive(self._channel.recv, limit, Deadline(timeout_s))
        deadline = Deadline(timeout_s)
        while True:
            data = self._receive(self._channel.recv_stderr, limit, deadline)
            passed = self._group.feed(data)
            if passed or not data:
                return passed

    def _receive(self, receive: Callable[[int], bytes], limit: int, deadline: Deadline) -> bytes:
        while True:
            with self._guarded():
                try:
                    data = receive(limit)
                    break
                except TimeoutError:
                    pass
            if deadline.expired:
                raise LinkTimeout(f"{self._name} said nothing for {deadline.seconds:g} s")
        if not data and self._lost():
            raise LinkLost(f"{self._name}: the connection broke", hint=_LOST)
        return data

    def _lost(self) -> bool:
        """Whether the output ended because the connection did. An end without a word is looked at twice: the news of both travel separately."""
        transport = self._connection.transport
        if self._channel.eof_received:
            return False
        if transport.is_active():
            transport.join(_TICK_S)
        return not transport.is_active()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the exit code; None also when the connection broke before it came."""
        if not self._channel.status_event.wait(timeout_s):
            return None
        code = self._channel.exit_status
        return code if code >= 0 else None

    def drain(self) -> int:
        """Wait until the other side has taken everything and ended, as long as something moves; returns the exit code.

        Raises:
            LinkLost, LinkTimeout.
        """
        standstill, moved = Deadline(self._stall_timeout_s), self._moved()
        while not self._channel.status_event.wait(_TICK_S):
            now = self._moved()
            if now != moved:
                moved = now
                standstill.renew()
            if standstill.expired:
                raise self._nothing_moved()
        if self._channel.exit_status < 0:
            raise LinkLost(f"{self._name}: the connection broke", hint=_LOST)
        return self._channel.exit_status

    def kill(self) -> None:
        """Kill the command and its children, and close the channel."""
        if self._channel.closed:
            return
        # In a thread: after a Ctrl-C inside paramiko one of its locks may be held by nobody.
        killer = threading.Thread(target=self._kill, name="kill", daemon=True)
        killer.start()
        killer.join(_KILL_TIMEOUT_S)

    def _kill(self) -> None:
        with contextlib.suppress(LinkError), translated(self._connection, self._name, _KILL_TIMEOUT_S):
            ended = self._channel.status_event
            if not ended.is_set():
                self._request_kill()
            if not ended.wait(_TICK_S) and self._group.group is not None:
                self._run_kill(self._group.group)
            self._channel.close()

    def _request_kill(self) -> None:
        """Ask the server: OpenSSH since 7.9 (but not for root) and dropbear do it."""
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
        message.add_int(self._channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string("KILL")
        # paramiko has no public way to send RFC 4254's "signal".
        self._connection.transport._send_user_message(message)  # type: ignore[attr-defined]  # noqa: SLF001

    def _run_kill(self, group: int) -> None:
        """Where the server did not, another command does. The group's leader waits for our command, so the number is not somebody else's."""
        with self._connection.transport.open_session(timeout=_KILL_TIMEOUT_S) as channel:
            channel.settimeout(_TICK_S)
            channel.exec_command(shlex.join(["kill", "-s", "KILL", "--", f"-{group}"]))
            channel.status_event.wait(_KILL_TIMEOUT_S)

    def release(self) -> None:
        """Nothing is left after `kill`."""
