"""Removes an ephemeral root when its agent is gone, also when it was killed: a forked process that only waits for the other end of a pipe to close.

It is forked before the agent opens anything, has a session of its own, and holds none of the agent's descriptors: neither the channel nor the lock lives on in it.
"""

from __future__ import annotations

import contextlib
import os
import time

from edgeopt_agent.tree import remove_tree

_TRIES = 50
_PAUSE_S = 0.1


def why_not(root: str) -> str | None:
    """Say why `root` must not be removed at the end: it holds something that no fresh root has. None when it may."""
    try:
        others = sorted(set(os.listdir(root)) - {"agent"})
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{root}: {error.strerror}"
    return f"{root} is not a fresh folder, it has {others[0]}" if others else None


def start(root: str) -> None:
    """Fork the janitor of `root`. Returns in the agent only."""
    # The agent's end stays open for as long as the agent lives; exec closes it in its children.
    reader, _ = os.pipe()
    if os.fork() != 0:
        os.close(reader)
        return
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        _close_others(keep=(0, 1, 2, reader))
        os.read(reader, 1)
        _remove(root)
    finally:
        os._exit(0)


def _close_others(keep: tuple[int, ...]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue


def _remove(root: str) -> None:
    # A child that is just dying may still write: try until nothing is left.
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            remove_tree(root)
        if not os.path.lexists(root):
            return
        time.sleep(_PAUSE_S)
