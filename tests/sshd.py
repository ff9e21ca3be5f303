"""A real OpenSSH server on this machine's loopback, for whoever runs the tests.

    server = start_sshd(tmp_path)
    link = open_link(server.address, known_hosts=server.known_hosts, identity=server.identity)

It runs as the user of the tests, without root, with keys of its own. Commands run as that user, in that user's home: give absolute paths below tmp_path. For a machine with a
home and a Python of its own, and for a network that can be cut, see tests/board.py.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

KEY_TYPES = ("ed25519", "ecdsa", "rsa")


def require_sshd() -> str:
    """Skip the test when there is no OpenSSH server on this machine."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no OpenSSH server (apt install openssh-server openssh-client)")
    return SSHD


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair at `path` and `path`.pub."""
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


def known_hosts_line(name: str, key: Path) -> str:
    """The line that trusts the public half of a host key."""
    return f"{name} {' '.join(Path(f'{key}.pub').read_text().split()[:2])}\n"


def ssh_argv(
    user: str, host: str, *, identity: Path, known_hosts: Path | None = None, port: int = 22
) -> tuple[str, ...]:
    """How OpenSSH's own client goes there, behind edgeopt's back; what it is to run comes after. Without `known_hosts` the host key is not looked at."""
    trust = ("-o", "StrictHostKeyChecking=no") if known_hosts is None else ()
    options = ("-F", "none", "-o", "BatchMode=yes", *trust, "-o", f"UserKnownHostsFile={known_hosts or os.devnull}")
    return ("ssh", *options, "-o", "LogLevel=ERROR", "-i", str(identity), "-p", str(port), f"{user}@{host}")


@dataclass
class Sshd:
    """A running server. `known_hosts` trusts its ed25519 key, `identity` is let in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    host_keys: dict[str, Path]
    known_hosts: Path
    identity: Path
    user: str = field(default_factory=getpass.getuser)
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"

    @property
    def key_name(self) -> str:
        return f"[{self.host}]:{self.port}"

    def session_pids(self) -> list[int]:
        """The server's processes for open connections, and their commands."""
        return descendants(self.process.pid)

    def freeze(self) -> None:
        """Stop the server and its sessions; the kernel goes on acknowledging."""
        stopped: set[int] = set()
        # Again until there is no new one: a process may start another while it is being stopped.
        while fresh := {self.process.pid, *self.session_pids()} - stopped:
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            stopped |= fresh

    def thaw(self) -> None:
        for pid in [self.process.pid, *self.session_pids()]:
            _signal(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the server and every session."""
        self.thaw()
        for pid in self.session_pids():
            _signal(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


def start_sshd(folder: Path, *, host_key_types: tuple[str, ...] = ("ed25519",), options: tuple[str, ...] = ()) -> Sshd:
    """Start a server on a free port of 127.0.0.1; `options` are further lines of sshd_config."""
    sshd = require_sshd()
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    keys = {kind: make_key(folder / f"host_{kind}", kind) for kind in host_key_types}
    identity = make_key(folder / "identity")
    shutil.copy(f"{identity}.pub", folder / "authorized_keys")
    port = free_port()
    config = folder / "sshd_config"
    lines = [
        *options,  # sshd takes the first value of each
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        *(f"HostKey {key}" for key in keys.values()),
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "MaxSessions 50",
        "MaxStartups 100",
        "PidFile none",
        "Subsystem sftp internal-sftp",
        "LogLevel ERROR",
    ]
    config.write_text("\n".join(lines) + "\n")
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(known_hosts_line(f"[127.0.0.1]:{port}", keys[host_key_types[0]]))
    log = (folder / "sshd.log").open("wb")
    process = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL)
    log.close()
    server = Sshd(folder, port, process, keys, known_hosts, identity)
    try:
        wait_for_greeting(server.host, port)
    except TimeoutError:
        server.stop()
        pytest.fail(f"sshd does not start: {(folder / 'sshd.log').read_text()}")
    return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_greeting(host: str, port: int, timeout_s: float = 20.0) -> None:
    """Wait until a server says SSH-2.0."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0) as probe:
            if probe.recv(4) == b"SSH-":
                return
        time.sleep(0.02)
    raise TimeoutError(f"no SSH server at {host}:{port}")


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    layer = [pid]
    while layer:
        layer = [child for child, parent in parents.items() if parent in layer]
        found += layer
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
