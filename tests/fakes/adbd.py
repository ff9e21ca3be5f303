"""A phone's adbd, as much of it as adb's client uses, on a port of this machine's loopback; its shell is mksh, and its commands are toybox's, as on Android.

    phone = start_phone(tmp_path / "phone")
    with adb_server(tmp_path / "adb") as server:
        server.connect(phone)

The protocol is that of Android's `packages/modules/adb/protocol.txt` and `shell_protocol.h`: messages of 24 bytes and data, one OKAY for each WRTE, shell v2 packets inside of a stream.
What a phone does wrong is a setting: `authorised`, `answers`, `features`, `garbage`, `cut_after_bytes`.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_HEADER = struct.Struct("<6I")
_VERSION, _MAX_DATA = 0x01000001, 256 * 1024
_TOKEN, _PUBLIC_KEY = 1, 3
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
SHELL_V2 = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"

APPLETS = """
cat chmod cmp cp cut date dd df dirname du echo env expr find flock fsync grep head id kill ln ls md5sum mkdir mv nproc od printf
ps pwd readlink rm rmdir sed setsid sha256sum sleep sort stat sync tail taskset test timeout touch tr true truncate uname wc yes
"""


def require_phone_tools() -> None:
    """Skip the test where the client, or what the fake phone is made of, is missing."""
    missing = [name for name in ("adb", "mksh", "toybox") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} (apt install adb mksh toybox)")


def _command(word: str) -> int:
    return int(struct.unpack("<I", word.encode())[0])


CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (_command(word) for word in ("CNXN", "AUTH", "OPEN", "OKAY", "WRTE", "CLSE"))


@dataclass
class Phone:
    """A phone: a folder of its own, the commands in it, and a port."""

    folder: Path
    features: str = SHELL_V2
    authorised: bool = True
    answers: bool = True
    """False: it takes the connection and says nothing."""
    garbage: bytes | None = None
    """Sent instead of an answer to each shell command."""
    cut_after_bytes: int | None = None
    """The connection breaks after so many bytes of shell data, in both directions together."""
    replugs: bool = False
    """After a cut the cable is plugged in again by itself, a moment later."""
    cut_at_command: int | None = None
    """The connection breaks a moment after so many more commands were begun."""
    model: str = "Pixel 8"
    commands: list[str] = field(default_factory=list)
    port: int = 0
    plugged: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _links: list[_Link] = field(default_factory=list)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"adb://{self.serial}"

    @property
    def root(self) -> str:
        """Where edgeopt keeps its tree on this phone."""
        return str(self.folder / "data" / "local" / "tmp" / "edgeopt")

    @property
    def bin(self) -> Path:
        return self.folder / "system" / "bin"

    def script(self, name: str, text: str) -> None:
        """Put a command there: a shell script that prints recorded answers, since a phone's own programs do not run here."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{self.bin}/sh\n{text}")
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": "/", "TMPDIR": str(self.folder / "data/local/tmp"), "LANG": "C.UTF-8"}

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self.plugged.set()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            link = _Link(self, connection)
            self._links.append(link)
            threading.Thread(target=link.serve, daemon=True).start()

    def count_command(self) -> None:
        if self.cut_at_command is None:
            return
        self.cut_at_command -= 1
        if self.cut_at_command <= 0:
            self.cut_at_command = None
            threading.Timer(0.03, self.cut).start()

    def cut(self) -> None:
        self.pull_cable()
        if self.replugs:
            threading.Timer(0.2, self.start).start()

    def pull_cable(self) -> None:
        """End every connection, at once; new ones are refused."""
        self.plugged.clear()
        if self._listener is not None:
            # A listener that another thread waits on is closed only when it wakes.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for link in self._links:
            link.drop()
        self._links.clear()

    def stop(self) -> None:
        self.pull_cable()


class _Link:
    """One connection of an adb server."""

    def __init__(self, phone: Phone, connection: socket.socket) -> None:
        self.phone = phone
        self._socket = connection
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self._carried = 0

    def serve(self) -> None:
        with contextlib.suppress(OSError, struct.error, EOFError):
            while True:
                command, first, second, size, _, _ = _HEADER.unpack(self._read(_HEADER.size))
                self._take(command, first, second, self._read(size))
        self.drop()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = _HEADER.pack(command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._socket.sendall(head + data)

    def carried(self, count: int) -> None:
        """Count bytes of shell data; break the connection when it is time."""
        self._carried += count
        limit = self.phone.cut_after_bytes
        if limit is not None and self._carried > limit:
            self.phone.cut_after_bytes = None
            self.phone.cut()

    def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN and self.phone.answers:
            if self.phone.authorised:
                banner = f"device::ro.product.name=fake;ro.product.model={self.phone.model};ro.product.device=fake;features={self.phone.features}"
                self.send(CNXN, _VERSION, _MAX_DATA, banner.encode())
            else:
                self.send(AUTH, _TOKEN, 0, os.urandom(20))
        elif command == AUTH and first != _PUBLIC_KEY:
            # Every signature is of a key that nobody allowed; then the public key is shown to a user who does not answer.
            self.send(AUTH, _TOKEN, 0, os.urandom(20))
        elif command == OPEN:
            self._open(first, data.rstrip(b"\0").decode("utf-8", "surrogateescape"))
        elif second in self._streams:
            self._streams[second].take(command, data)

    def _open(self, remote: int, service: str) -> None:
        name, _, argument = service.partition(":")
        if name.split(",")[0] != "shell":
            self.send(CLSE, 0, remote)
            return
        local, self._next = self._next, self._next + 1
        self.phone.commands.append(argument)
        self.phone.count_command()
        self._streams[local] = _Stream(self, local, remote, argument, is_v2="v2" in name.split(","))
        self.send(OKAY, local, remote)
        self._streams[local].start()

    def forget(self, local: int) -> None:
        self._streams.pop(local, None)

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for stream in list(self._streams.values()):
            stream.hang_up()


class _Stream:
    """One shell command."""

    def __init__(self, link: _Link, local: int, remote: int, command: str, *, is_v2: bool) -> None:
        self._link, self._local, self._remote, self._is_v2 = link, local, remote, is_v2
        self._may_send = threading.Semaphore(0)
        self._is_over = False
        self._inbox = b""
        self._input: list[bytes | None] = []
        self._came = threading.Condition()
        # As adbd does: a session of its own, and it is told SIGHUP when the connection ends.
        self._process = subprocess.Popen(
            [str(link.phone.bin / "sh"), "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if is_v2 else subprocess.STDOUT,
            cwd=link.phone.folder,
            env=link.phone.environment(),
            start_new_session=True,
        )

    def start(self) -> None:
        self._may_send.release()
        threading.Thread(target=self._feed, daemon=True).start()
        threading.Thread(target=self._pump, daemon=True).start()

    def take(self, command: int, data: bytes) -> None:
        if command == OKAY:
            self._may_send.release()
        elif command == CLSE:
            self.hang_up()
        elif command == WRTE:
            self._link.carried(len(data))
            with self._came:
                self._input.append(data)
                self._came.notify()

    def _feed(self) -> None:
        """Hand what came to the command. A WRTE is answered only when it was taken: that is what holds the host back."""
        with contextlib.suppress(OSError):
            while not self._is_over:
                with self._came:
                    if not self._came.wait_for(lambda: self._input or self._is_over, 1.0):
                        continue
                    data = self._input.pop(0) if self._input else None
                if data is not None:
                    self._unpack(data)
                    self._link.send(OKAY, self._local, self._remote)

    def _unpack(self, data: bytes) -> None:
        self._inbox += data if self._is_v2 else struct.pack("<BI", _STDIN, len(data)) + data
        while len(self._inbox) >= 5:
            kind, size = struct.unpack("<BI", self._inbox[:5])
            if len(self._inbox) < 5 + size:
                return
            body, self._inbox = self._inbox[5 : 5 + size], self._inbox[5 + size :]
            assert self._process.stdin is not None
            # A command that does not read: adbd throws away what comes for it.
            with contextlib.suppress(OSError, ValueError):
                if kind == _STDIN:
                    self._process.stdin.write(body)
                    self._process.stdin.flush()
                elif kind == _CLOSE_STDIN:
                    self._process.stdin.close()

    def _pump(self) -> None:
        kinds = {self._process.stdout: _STDOUT, self._process.stderr: _STDERR}
        open_pipes = [pipe for pipe in kinds if pipe is not None]
        # ValueError: another thread hung up and closed a pipe.
        with contextlib.suppress(OSError, ValueError):
            while open_pipes and not self._is_over:
                ready, _, _ = select.select(open_pipes, [], [], 0.2)
                for pipe in ready:
                    data = os.read(pipe.fileno(), 64 << 10)
                    if data:
                        self._say(kinds[pipe], data)
                    else:
                        open_pipes.remove(pipe)
        code = self._process.wait()
        with contextlib.suppress(OSError):
            if self._is_v2 and not self._is_over:
                self._say(_EXIT, bytes([code if code >= 0 else 128 - code]))
            if not self._is_over:
                self._link.send(CLSE, self._local, self._remote)
        self._end()

    def _say(self, kind: int, data: bytes) -> None:
        packed = struct.pack("<BI", kind, len(data)) + data if self._is_v2 else data
        if self._link.phone.garbage is not None:
            packed = self._link.phone.garbage
        while not self._is_over and not self._may_send.acquire(timeout=0.2):
            pass
        if not self._is_over:
            self._link.carried(len(packed))
            self._link.send(WRTE, self._local, self._remote, packed)

    def hang_up(self) -> None:
        """The host, or the cable, is gone."""
        if self._is_over:
            return
        self._is_over = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGHUP)
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._link.forget(self._local)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
        with self._came:
            self._came.notify_all()
        threading.Thread(target=self._process.wait, daemon=True).start()


def start_phone(folder: Path, **settings: object) -> Phone:
    """Make a phone's folder and serve it."""
    require_phone_tools()
    phone = Phone(folder, **settings)  # type: ignore[arg-type]
    phone.bin.mkdir(parents=True)
    (folder / "data" / "local" / "tmp").mkdir(parents=True)
    toybox, shell = shutil.which("toybox"), shutil.which("mksh")
    assert toybox is not None
    assert shell is not None
    (phone.bin / "sh").symlink_to(shell)
    for applet in APPLETS.split():
        (phone.bin / applet).symlink_to(toybox)
    phone.start()
    return phone


@dataclass
class AdbServer:
    """An adb server of the tests' own; `environment` is what leads the client to it."""

    environment: dict[str, str]

    def run(self, *argv: str, timeout_s: float = 30.0) -> str:
        done = subprocess.run(
            ["adb", *argv],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return done.stdout + done.stderr

    def connect(self, phone: Phone) -> None:
        self.run("connect", phone.serial)


@contextlib.contextmanager
def adb_server(home: Path) -> Iterator[AdbServer]:
    """A private server: its own port, its own keys; killed at the end."""
    require_phone_tools()
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = AdbServer({"ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(home), "ANDROID_USER_HOME": str(home)})
    try:
        yield server
    finally:
        server.run("kill-server")
