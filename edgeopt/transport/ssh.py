"""`ssh://`: a device behind an SSH server.

Files travel through `cat` in an exec channel and not through SFTP (`edgeopt.transport.cat`): boards without sftp-server can be used, and it is faster where it counts (see docs/benchmarks.md).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from edgeopt.transport.address import SshAddress
from edgeopt.transport.shell_link import ShellLink
from edgeopt.transport.ssh_config import SshConfig
from edgeopt.transport.ssh_connect import Connection, Login, open_route
from edgeopt.transport.ssh_process import SshProcess

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


class SshLink(ShellLink):
    """A `Link` over an authenticated connection, which it owns."""

    def __init__(self, connection: Connection, name: str, stall_timeout_s: float) -> None:
        super().__init__(name, stall_timeout_s)
        self._connection = connection

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

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.close()

    def _begin(self, argv: Sequence[str], name: str, timeout_s: float) -> SshProcess:
        return SshProcess(self._connection, argv, name, timeout_s)
