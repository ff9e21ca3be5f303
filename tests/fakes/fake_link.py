"""A device in memory, and a link to it that passes the same contract as the real ones.

    device = FakeDevice()
    device.programs["uname"] = lambda command: command.say("Linux\\n")
    link = FakeLink(device)

A program is a function of a `FakeCommand`; it runs in a thread, reads stdin, writes stdout and stderr, and returns its exit code (None is 0). Files are `device.files`.
Faults are settings of the device: `capacity_bytes`, `read_only`, `cut_after_bytes`, `gone`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edgeopt.errors import DiskFull, LinkError, LinkLost, LinkTimeout, ReadOnly
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.link import Completed, Progress
from edgeopt.transport.process import Output, ProcessStream, complete

PIPE_BYTES = 64 << 10
BLOCK_BYTES = 64 << 10
KILLED = -9
NOT_FOUND = 127


class Ended(Exception):
    """Inside a program: it was killed, or nobody reads what it says."""


class Pipe:
    """Bytes from one thread to another, a bounded number at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._data = bytearray()
        self._ended = False
        self._broken = False

    def write(self, data: bytes, timeout_s: float | None = None) -> None:
        left = memoryview(data)
        with self._changed:
            while left:
                if not self._changed.wait_for(lambda: self._broken or len(self._data) < PIPE_BYTES, timeout_s):
                    raise TimeoutError
                if self._broken:
                    raise BrokenPipeError
                room = PIPE_BYTES - len(self._data)
                self._data += left[:room]
                left = left[room:]
                self._changed.notify_all()

    def read(self, limit: int, timeout_s: float | None = None) -> bytes:
        with self._changed:
            if not self._changed.wait_for(lambda: self._data or self._ended or self._broken, timeout_s):
                raise TimeoutError
            taken = bytes(self._data[:limit])
            del self._data[:limit]
            self._changed.notify_all()
            return taken

    def end(self) -> None:
        """The writer has no more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def break_(self) -> None:
        """Neither side goes on."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()


@dataclass
class FakeCommand:
    """A running program, as the program sees it."""

    argv: list[str]
    device: FakeDevice
    stdin: Pipe = field(default_factory=Pipe)
    stdout: Pipe = field(default_factory=Pipe)
    stderr: Pipe = field(default_factory=Pipe)
    killed: threading.Event = field(default_factory=threading.Event)

    def read(self, limit: int = BLOCK_BYTES) -> bytes:
        """Read stdin; b"" is its end."""
        data = self.stdin.read(limit)
        self._check()
        return data

    def say(self, data: str | bytes) -> None:
        """Write to stdout."""
        self._write(self.stdout, data)

    def complain(self, data: str | bytes) -> None:
        """Write to stderr."""
        self._write(self.stderr, data)

    def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        self.killed.wait(seconds)
        self._check()

    def _write(self, pipe: Pipe, data: str | bytes) -> None:
        try:
            pipe.write(data.encode() if isinstance(data, str) else data)
        except BrokenPipeError:
            raise Ended from None
        self._check()

    def _check(self) -> None:
        if self.killed.is_set():
            raise Ended


Program = Callable[[FakeCommand], int | None]


def _cat(command: FakeCommand) -> None:
    while data := command.read():
        command.say(data)


def _count(command: FakeCommand) -> None:
    count = 0
    while data := command.read():
        count += len(data)
    command.say(f"{count}\n")


def _sleep(command: FakeCommand) -> None:
    command.sleep(float(command.argv[1]))


def _yes(command: FakeCommand) -> None:
    while True:
        command.say(b"y\n" * 8192)


def _printf(command: FakeCommand) -> None:
    for word in command.argv[2:]:
        command.say(command.argv[1].replace("%s", word).replace("\\n", "\n"))
    if len(command.argv) == 2:
        command.say(command.argv[1].replace("\\n", "\n"))


@dataclass
class FakeDevice:
    """What is on the other side, and what goes wrong there."""

    files: dict[str, bytes] = field(default_factory=dict)
    programs: dict[str, Program] = field(
        default_factory=lambda: {
            "cat": _cat,
            "wc": _count,
            "sleep": _sleep,
            "yes": _yes,
            "printf": _printf,
            "true": lambda _: 0,
            "false": lambda _: 1,
        }
    )
    folders: set[str] = field(default_factory=lambda: {"/", "/tmp"})
    capacity_bytes: int | None = None
    """`put` raises DiskFull when all files together would be larger."""
    read_only: bool = False
    cut_after_bytes: int | None = None
    """`put` and `get` raise LinkLost after so many bytes in all; then the device is `gone`."""
    gone: bool = False
    """No link works; set it to False to plug the device in again."""
    running: list[FakeCommand] = field(default_factory=list)
    received_bytes: int = 0
    """Of all uploads."""

    def used_bytes(self) -> int:
        return sum(len(data) for data in self.files.values())

    def carry(self, count: int) -> int:
        """How many of `count` bytes still pass before the cut."""
        if self.cut_after_bytes is None:
            return count
        passing = min(count, self.cut_after_bytes)
        self.cut_after_bytes -= passing
        if passing < count:
            self.cut_after_bytes = None
            self.gone = True
        return passing


class FakeProcess:
    """A program in a thread; implements `edgeopt.transport.process.Process`."""

    def __init__(self, command: FakeCommand, program: Program, name: str, stall_timeout_s: float) -> None:
        self._command = command
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        self._code: int | None = None
        self._ended = threading.Event()
        command.device.running.append(command)
        threading.Thread(target=self._run, args=(program,), name=name, daemon=True).start()

    def _run(self, program: Program) -> None:
        try:
            self._code = program(self._command) or 0
        except Ended:
            self._code = KILLED
        self._command.device.running.remove(self._command)
        self._command.stdin.break_()
        self._command.stdout.end()
        self._command.stderr.end()
        self._ended.set()

    def write(self, data: bytes) -> None:
        self._check()
        try:
            self._command.stdin.write(data, self._stall_timeout_s)
        except BrokenPipeError as error:
            raise LinkLost(f"{self._name} does not read any more") from error
        except TimeoutError as error:
            raise LinkTimeout(f"{self._name} took no input for {self._stall_timeout_s:g} s") from error

    def end_stdin(self) -> None:
        self._command.stdin.end()

    def read(self, output: Output, limit: int, timeout_s: float) -> bytes:
        self._check()
        pipe = self._command.stdout if output == "stdout" else self._command.stderr
        try:
            return pipe.read(limit, timeout_s)
        except TimeoutError as error:
            raise LinkTimeout(f"{self._name} said nothing for {timeout_s:g} s") from error

    def wait(self, timeout_s: float) -> int | None:
        return self._code if self._ended.wait(timeout_s) else None

    def kill(self) -> None:
        self._command.killed.set()
        for pipe in (self._command.stdin, self._command.stdout, self._command.stderr):
            pipe.break_()
        self._ended.wait(5.0)

    def release(self) -> None:
        pass

    def _check(self) -> None:
        if self._command.device.gone:
            raise LinkLost(f"{self._name}: the connection broke")


class FakeLink:
    """A `Link` to a `FakeDevice`."""

    def __init__(self, device: FakeDevice, *, name: str = "fake", stall_timeout_s: float = 20.0) -> None:
        self.device = device
        self._name = name
        self._stall_timeout_s = stall_timeout_s
        self._streams: list[ProcessStream] = []
        self._closed = False

    def run(self, argv: Sequence[str], stdin: bytes = b"", deadline_s: float = 30.0) -> Completed:
        process = self._spawn(argv)
        if process is None:
            return Completed(exit_code=NOT_FOUND, stdout=b"", stderr=f"{argv[0]}: not found".encode())
        return complete(process, stdin, deadline_s, f"{self._name}: {argv[0]}")

    def start(self, argv: Sequence[str]) -> ProcessStream:
        process = self._spawn(argv)
        if process is None:
            raise LinkError(f"{self._name}: {argv[0]}: not found")
        stream = ProcessStream(process, f"{self._name}: {argv[0]}")
        self._streams.append(stream)
        return stream

    def put(self, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None) -> int:
        self._check_open()
        data = self._read_local(local, offset)
        self._check_writable(remote, offset)
        kept = self.device.files.get(remote, b"")[:offset]
        self.device.files[remote] = kept
        sent = 0
        for start in range(offset, len(data), BLOCK_BYTES):
            block = data[start : start + BLOCK_BYTES]
            passing = self.device.carry(len(block))
            self._store(remote, block[:passing])
            sent += passing
            if passing < len(block):
                raise LinkLost(f"{self._name}: the connection broke")
            if progress is not None:
                progress(offset + sent, len(data))
        return sent

    def _read_local(self, local: Path, offset: int) -> bytes:
        try:
            data = local.read_bytes()
        except OSError as error:
            raise LinkError(f"{local} on this computer cannot be read") from error
        if not 0 <= offset <= len(data):
            raise LinkError(f"{local} has {len(data)} bytes; sending cannot begin at byte {offset}")
        return data

    def _check_writable(self, remote: str, offset: int) -> None:
        if self.device.read_only:
            raise ReadOnly(f"{self._name}: {remote} cannot be written: Read-only file system")
        if str(PurePosixPath(remote).parent) not in self.device.folders:
            raise LinkError(f"{self._name}: {remote} cannot be written: No such file or directory")
        if len(self.device.files.get(remote, b"")) < offset:
            raise LinkError(f"{self._name}: {remote} has fewer than {offset} bytes")

    def _store(self, remote: str, block: bytes) -> None:
        capacity = self.device.capacity_bytes
        room = len(block) if capacity is None else max(0, capacity - self.device.used_bytes())
        self.device.files[remote] += block[:room]
        self.device.received_bytes += len(block[:room])
        if room < len(block):
            raise DiskFull(f"{self._name}: no room for {remote}: No space left on device")

    def get(self, remote: str, local: Path, *, max_bytes: int, progress: Progress | None = None) -> int:
        self._check_open()
        data = self.device.files.get(remote)
        if data is None:
            raise LinkError(f"{self._name}: {remote} cannot be read: No such file or directory")
        if len(data) > max_bytes:
            raise LinkError(f"{self._name}: {remote} has more than {max_bytes} bytes")
        if self.device.carry(len(data)) < len(data):
            raise LinkLost(f"{self._name}: the connection broke")
        try:
            local.write_bytes(data)
        except OSError as error:
            raise LinkError(f"{local} on this computer cannot be written") from error
        if progress is not None:
            progress(len(data), len(data))
        return len(data)

    def close(self) -> None:
        self._closed = True
        while self._streams:
            self._streams.pop().close()

    def _check_open(self) -> None:
        if self._closed or self.device.gone:
            raise LinkLost(f"{self._name}: the link is {'closed' if self._closed else 'broken'}")

    def _spawn(self, argv: Sequence[str]) -> FakeProcess | None:
        self._check_open()
        if not argv or any("\0" in word for word in argv):
            raise LinkError(f"{self._name}: a command has at least one word, and no NUL in any")
        program = self.device.programs.get(argv[0])
        if program is None:
            return None
        command = FakeCommand(list(argv), self.device)
        return FakeProcess(command, program, f"{self._name}: {argv[0]}", self._stall_timeout_s)


def wait_until_idle(device: FakeDevice, timeout_s: float = 10.0) -> bool:
    """Wait until no program runs on the device."""
    deadline = Deadline(timeout_s)
    pause = threading.Event()
    while device.running and not deadline.expired:
        pause.wait(0.01)
    return not device.running
