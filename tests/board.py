"""A board: a machine of its own on this machine, behind a network that can be cut.

    board = make_board(tmp_path, python="/usr/bin/python3.11")
    link = open_link(board.address, known_hosts=board.known_hosts, identity=board.identity)
    ...
    board.stop()

It is a network namespace, a mount namespace and a process namespace with a real OpenSSH server. Whoever logs in is `pi` (an ordinary user), with a fresh `~`
(`board.home` is the same folder seen from here), and a PATH on which there is a shell, a few POSIX tools, and the chosen Python as `python3` with no packages:
no numpy, no pip. `python=None` gives a board without Python. Needs root, OpenSSH's server, ip and nft; `require_board` skips where one is missing, and says which.

`make_fleet` starts several at once.

Faults: `cut_after(n)` drops every packet once a connection has carried n bytes towards the board, `refuse`, `link_down`, `freeze`, `small_disk`, `read_only`, `login_noise`, `trust_other_key`.
`stop()` ends every process of the board, whatever it does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sshd import SSHD, known_hosts_line, make_key, wait_for_greeting

USER = "pi"
USER_ID = 23170
TOOLS = (
    "sh",
    "cat",
    "dd",
    "wc",
    "kill",
    "sleep",
    "ls",
    "rm",
    "mkdir",
    "yes",
    "head",
    "printf",
    "true",
    "false",
    "env",
    "id",
    "uname",
)

_SETUP = """
set -e
tree=$1 prefix=$2
shift 2
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 board /home
mkdir /home/pi
mount --bind "$tree/home" /home/pi
mount -t tmpfs -o mode=755 board /opt
mkdir /opt/board
if [ -n "$prefix" ]; then mkdir /opt/python; mount --bind -o ro "$prefix" /opt/python; fi
mount -t tmpfs -o mode=755 board /root
# At its own place as well: an interpreter may look for its shared library there.
if [ -n "$prefix" ]; then mkdir -p "$prefix"; mount --bind -o ro /opt/python "$prefix"; fi
mount --bind "$tree/bin" /opt/board
mount --bind "$tree/passwd" /etc/passwd
for folder in "$@"; do mount -t tmpfs -o mode=755 board "$folder"; done
exec "$SSHD" -D -e -f "$tree/sshd_config"
"""


@dataclass
class Board:
    """A running board. `known_hosts` trusts it and `identity` is let in."""

    namespace: str
    host: str
    folder: Path
    home: Path
    known_hosts: Path
    identity: Path
    host_key: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"ssh://{USER}@{self.host}"

    def pids(self) -> list[int]:
        """Every process on the board, as this machine numbers them; the first is the server."""
        server = self._init_pid()
        space = Path(f"/proc/{server}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == space:
                    found.append(int(entry.name))
        # Numbers begin again after the largest: a connection's may be below the server's.
        return sorted(found, key=lambda pid: (pid != server, pid))

    def commands(self) -> list[str]:
        """Command lines of the board's processes without the server's own: what was left running there."""
        lines = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if line and not line.startswith(("sshd", str(SSHD))):
                    lines.append(line)
        return lines

    def cut_after(self, count: int) -> None:
        """Let each connection carry `count` more-or-less exact bytes towards the board in all, then nothing in either direction."""
        self.heal()
        rules = (
            f"add table inet cut; add chain inet cut i {{ type filter hook input priority 0; }};"
            f"add chain inet cut o {{ type filter hook output priority 0; }};"
            f"add rule inet cut i ct original bytes > {count} drop; add rule inet cut o ct original bytes > {count} drop"
        )
        self._inside("sysctl", "-q", "-w", "net.netfilter.nf_conntrack_acct=1")
        self._inside("nft", rules)

    def refuse(self) -> None:
        """Reset every connection at its next packet, and every new one."""
        self.heal()
        self._inside(
            "nft",
            "add table inet cut; add chain inet cut i { type filter hook input priority 0; };"
            "add rule inet cut i tcp dport 22 reject with tcp reset",
        )

    def end_connections(self) -> None:
        """Kill the server's side of every connection and what runs in them."""
        for pid in self.pids()[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def heal(self) -> None:
        """Undo `cut_after` or `refuse`."""
        self._inside("nft", "add table inet cut; delete table inet cut")

    def link_down(self) -> None:
        """Pull the cable."""
        self._inside("ip", "link", "set", "eth0", "down")

    def link_up(self) -> None:
        """Plug it in again."""
        self._inside("ip", "link", "set", "eth0", "up")
        wait_for_greeting(self.host, 22)

    def freeze(self) -> None:
        """Stop every process; the kernel goes on acknowledging."""
        stopped: set[int] = set()
        # Again until there is no new one: a process may start another while it is being stopped.
        while fresh := set(self.pids()) - stopped:
            for pid in fresh:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= fresh

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def small_disk(self, path: str, size_bytes: int) -> None:
        """Put an empty disk of `size_bytes` at the board's folder `path`, which is made. It is not visible from here."""
        options = f"size={size_bytes},mode=755,uid={USER_ID},gid={USER_ID}"
        self._on_board("mkdir", "-p", path)
        self._on_board("mount", "-t", "tmpfs", "-o", options, "small", path)

    def grow_disk(self, path: str, size_bytes: int) -> None:
        """Give a disk of `small_disk` another size."""
        self._on_board("mount", "-o", f"remount,size={size_bytes}", path)

    def read_only(self, path: str) -> None:
        """Make the board's folder `path` read-only, as a dying SD card does."""
        self._on_board("mount", "--bind", path, path)
        self._on_board("mount", "-o", "remount,bind,ro", path)

    def unmount(self, path: str) -> None:
        """Undo `small_disk` or `read_only`."""
        self._on_board("umount", path)

    def login_noise(self, text: str) -> None:
        """Let every login print `text` first: the user's shell becomes one that does."""
        shell = self.folder / "bin" / "noisy-shell"
        shell.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\nprintf '%s\\n' '{text}' >&2\nexec /bin/sh \"$@\"\n")
        shell.chmod(0o755)
        passwd = self.folder / "passwd"
        # In place: the file is mounted.
        passwd.write_text(passwd.read_text().replace(":/home/pi:/bin/sh", ":/home/pi:/opt/board/noisy-shell"))

    def trust_other_key(self) -> None:
        """Let `known_hosts` hold a key that is not the board's, as after an exchange of boards."""
        other = make_key(self.folder / "other_host_key")
        self.known_hosts.write_text(known_hosts_line(self.host, other))

    def stop(self) -> None:
        """Switch it off."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()  # unshare --kill-child takes all others along
        self.process.wait()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)

    def _init_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def _inside(self, *argv: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.namespace, *argv], check=True)

    def _on_board(self, *argv: str) -> None:
        subprocess.run(["nsenter", f"--target={self._init_pid()}", "--mount", *argv], check=True)


def require_board() -> None:
    """Skip the test where no board can be made."""
    if os.geteuid() != 0:
        pytest.skip("a board needs root")
    if SSHD is None:
        pytest.skip("a board needs OpenSSH's server (apt install openssh-server)")
    missing = [tool for tool in ("ip", "nft", "nsenter", "unshare", "ssh-keygen") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"a board needs {', '.join(missing)} (apt install iproute2 nftables util-linux openssh-client)")
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"a board needs namespaces: {probe.stderr.decode().strip()}")


def make_board(folder: Path, python: str | None = sys.executable) -> Board:
    """Start a board; skips the test where that is not possible.

    Args:
        folder: for its files, not shared with another board.
        python: interpreter whose installation, without any package, becomes the board's `python3`; None for a board without.
    """
    require_board()
    folder.mkdir(parents=True, exist_ok=True)
    namespace, subnet = _make_network()
    try:
        return _start(folder, python, namespace, subnet)
    except BaseException:
        subprocess.run(["ip", "netns", "delete", namespace], check=False)
        raise


def make_fleet(folder: Path, count: int, python: str | None = sys.executable) -> list[Board]:
    """Start several boards at once, each with a network, a home and a key of its own; skips the test where that is not possible."""
    require_board()
    with ThreadPoolExecutor(max_workers=8) as pool:
        waiting = [pool.submit(make_board, folder / f"board{number:02}", python) for number in range(count)]
    started = [made.result() for made in waiting if made.exception() is None]
    if len(started) < count:
        stop_fleet(started)
    return [made.result() for made in waiting]


def stop_fleet(boards: Iterable[Board]) -> None:
    """Switch boards off, at once."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(Board.stop, boards))


def _start(folder: Path, python: str | None, namespace: str, subnet: str) -> Board:
    home = folder / "home"
    home.mkdir()
    os.chown(home, USER_ID, USER_ID)
    prefix, masked = _install_tools(folder / "bin", python)
    host_key, identity = make_key(folder / "host_key"), make_key(folder / "identity")
    host = f"{subnet}.2"
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(known_hosts_line(host, host_key))
    (folder / "passwd").write_text(
        f"root:x:0:0:root:/root:/bin/sh\n{USER}:x:{USER_ID}:{USER_ID}::/home/pi:/bin/sh\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
    )
    (folder / "sshd_config").write_text(_config(folder))
    Path("/run/sshd").mkdir(exist_ok=True)
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _SETUP, "board"]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *unshare, str(folder), prefix, *masked],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SSHD": str(SSHD)},
        )
    board = Board(namespace, host, folder, home, known_hosts, identity, host_key, process)
    try:
        wait_for_greeting(host, 22)
    except TimeoutError:
        board.stop()
        pytest.fail(f"the board does not start: {(folder / 'sshd.log').read_text()}")
    return board


def _config(folder: Path) -> str:
    # sshd reads it as the user, who cannot look below the folder.
    shutil.copy(folder / "identity.pub", folder / "bin" / "authorized_keys")
    return "\n".join(
        [
            "ListenAddress 0.0.0.0",
            f"HostKey {folder / 'host_key'}",
            "AuthorizedKeysFile /opt/board/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "SetEnv PATH=/opt/board",
            "PrintMotd no",
            "PidFile none",
            "Subsystem sftp internal-sftp",
            "LogLevel ERROR",
            "",
        ]
    )


def _install_tools(bin_folder: Path, python: str | None) -> tuple[str, list[str]]:
    """Fill the board's PATH; returns (installation to show on the board, folders of packages to hide there)."""
    bin_folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin")
        if found is not None:
            (bin_folder / tool).symlink_to(found)
    if python is None:
        return "", []
    prefix, real = _ask(python, "import sys; print(sys.base_prefix); print('python%d.%d' % sys.version_info[:2])")
    interpreter = Path(prefix) / "bin" / real
    folders = _ask(str(interpreter), "import site; print(*site.getsitepackages(), sep='\\n')")
    packages = [folder for folder in folders if Path(folder).is_dir()]
    if prefix == "/usr":
        (bin_folder / "python3").symlink_to(interpreter)
        return "", packages
    (bin_folder / "python3").symlink_to(interpreter)
    return prefix, packages


def _ask(python: str, script: str) -> list[str]:
    return subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


def _make_network() -> tuple[str, str]:
    """Find a free subnet; making the namespace is what reserves it, also between parallel tests."""
    for number in range(os.getpid() % 200 + 1, os.getpid() % 200 + 252):
        index = number % 250 + 1
        namespace, subnet = f"eoboard{index}", f"10.77.{index}"
        made = subprocess.run(["ip", "netns", "add", namespace], capture_output=True, check=False)
        if made.returncode == 0:
            _wire(namespace, subnet, f"eob{index}")
            return namespace, subnet
    pytest.fail("no free network namespace: ip netns list")


def _wire(namespace: str, subnet: str, outside: str) -> None:
    # A veth end left by a board that was not stopped goes with its namespace, a little later.
    subprocess.run(["ip", "link", "delete", outside], capture_output=True, check=False)
    for line in (
        f"ip link add {outside} type veth peer name eth0 netns {namespace}",
        f"ip addr add {subnet}.1/24 dev {outside}",
        f"ip link set {outside} up",
        f"ip -n {namespace} addr add {subnet}.2/24 dev eth0",
        f"ip -n {namespace} link set eth0 up",
        f"ip -n {namespace} link set lo up",
    ):
        subprocess.run(line.split(), check=True)
