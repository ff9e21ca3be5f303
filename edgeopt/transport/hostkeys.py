"""Trust in host keys: look at a board's key, keep it, forget it.

edgeopt keeps its own file in the format of known_hosts. What `ssh` trusts counts as well; this file goes first. Nothing is written but by `trust` and `forget`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgeopt.errors import StoreError
from edgeopt.transport.address import SshAddress, format_address
from edgeopt.transport.known_hosts import HostKey, replace_host
from edgeopt.transport.ssh_config import SshConfig

__all__ = ["HostKey", "forget", "scan_host_key", "trust"]


def scan_host_key(
    address: SshAddress, *, known_hosts: Path | None = None, connect_timeout_s: float = 10.0, name: str | None = None
) -> HostKey:
    """Ask a board for its host key, without logging in. Jump hosts before it are verified and logged in to.

    Args:
        address: the board's.
        known_hosts: edgeopt's own file, for jump hosts.
        connect_timeout_s: for connection and greeting.
        name: how messages call the board.

    Raises:
        LinkError: it cannot be reached.
    """
    from edgeopt.transport.ssh_connect import Login, read_host_key

    home = Path.home()
    login = Login(
        known_hosts=known_hosts or Path(os.devnull),
        identity=None,
        home=home,
        name=name or format_address(address),
        connect_timeout_s=connect_timeout_s,
    )
    return read_host_key(SshConfig.read(home).route(address), login)


def trust(path: Path, address: SshAddress, key: HostKey) -> None:
    """Make `key` the only trusted one of a board, in the file `path`.

    Raises:
        StoreError: the file cannot be written; it is as before then.
    """
    _rewrite(path, _key_name(address), key)


def forget(path: Path, address: SshAddress) -> bool:
    """Remove a board from the file `path`; returns whether it was there.

    Raises:
        StoreError: the file cannot be written; it is as before then.
    """
    return _rewrite(path, _key_name(address), None)


def _key_name(address: SshAddress) -> str:
    return SshConfig.read(Path.home()).route(address)[-1].key_name


def _rewrite(path: Path, name: str, key: HostKey | None) -> bool:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = replace_host(before, name, key)
        if after == before:
            return False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o600)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StoreError(f"the file of trusted host keys {path} cannot be written: {error.strerror}") from error
    return True
