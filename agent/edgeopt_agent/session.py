"""What the verbs of one conversation share: the tree, the lock, the way to say something, and whether the host is still there."""

from __future__ import annotations

import os
import select
import sys

from edgeopt_agent.errors import AgentError, Cancelled
from edgeopt_agent.lock import DeviceLock
from edgeopt_agent.tree import Tree, make_folder, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.calm import Reference


class Session:
    """One conversation.

    Args:
        tree: where things are.
        ephemeral: the root is removed at the end.
        emit: sends an event of the request that is being served.
        sysfs_root: where the /proc, /sys and /dev of power sensors are; another folder than / in tests only.
    """

    def __init__(
        self, tree: Tree, *, ephemeral: bool, emit: Callable[[dict[str, Any]], None], sysfs_root: str = "/"
    ) -> None:
        self.tree = tree
        self.sysfs_root = sysfs_root
        self.ephemeral = ephemeral
        self.emit = emit
        self.lock = DeviceLock(tree.lock, _wider_lock(tree) if ephemeral else None)
        self.runtimes: tuple[list[dict[str, Any]], dict[str, str]] | None = None
        """What `probe` found; importing a runtime takes seconds on a small board, and only the verb `runtime` changes the answer."""
        self.reference: Reference | None = None
        """How warm and how fast the board was before its first timed block."""
        self.stops = 0
        """How often this process was stopped and went on again."""
        self._scratch: str | None = None
        self._wake_reader, self._wake_writer = os.pipe()
        self._is_closing = False

    @property
    def wake_descriptor(self) -> int:
        """Becomes readable when the host is gone; for `select`."""
        return self._wake_reader

    @property
    def is_closing(self) -> bool:
        """Whether the host is gone."""
        return self._is_closing

    def close(self) -> None:
        """Say that the host is gone. May be called from any thread and from a signal handler, any number of times."""
        if not self._is_closing:
            self._is_closing = True
            os.write(self._wake_writer, b"x")

    def continued(self) -> None:
        """Say that this process had been stopped. Called from a signal handler."""
        self.stops += 1

    def check(self) -> None:
        """Raise Cancelled when the host is gone. Long work calls this at least once a second."""
        if self._is_closing:
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the host is there."""
        select.select([self._wake_reader], [], [], max(0.0, seconds))
        self.check()

    def need_lock(self) -> None:
        """Raise `not-locked` unless this session has the device."""
        if not self.lock.is_held:
            raise AgentError("not-locked", "this needs the device's lock: send lock first")

    def scratch(self) -> str:
        """Return this session's folder for outputs; it is removed at its end."""
        if self._scratch is None:
            path = os.path.join(self.tree.scratch, f"{os.getpid()}-{os.urandom(8).hex()}")
            make_folder(path)
            self._scratch = path
        return self._scratch

    def clean_up(self) -> None:
        """Remove what must not outlive the session."""
        for path in (self._scratch, self.tree.root if self.ephemeral else None):
            if path is None:
                continue
            try:
                remove_tree(path)
            except OSError as error:
                log(f"{path} was not removed: {error}")


def log(text: str) -> None:
    """Write a line to stderr, the agent's log; a log that nobody reads is no reason to stop."""
    try:
        sys.stderr.write(f"edgeopt-agent: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _wider_lock(tree: Tree) -> str:
    """Return what every ephemeral session of this user on this device can lock without making a file."""
    if tree.more_runtimes is not None:
        persistent = os.path.join(os.path.dirname(tree.more_runtimes.rstrip("/")), "locks", "device")
        if os.path.exists(persistent):
            return persistent
    return os.path.dirname(tree.root)
