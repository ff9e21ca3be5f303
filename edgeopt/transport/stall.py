"""The last resort against calls that cannot be told to stop.

paramiko waits without limit for the answer to a channel request, and for room in the socket's buffer. While such a call runs, a guard watches a
deadline; when it passes, the guard breaks the connection under the call, which then ends with an error.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from edgeopt.transport.deadline import Deadline


class StallGuard:
    """One thread that watches any number of calls on one connection.

    Args:
        break_connection: ends the connection at once; never blocks or raises.
    """

    def __init__(self, break_connection: Callable[[], None]) -> None:
        self._break_connection = break_connection
        self._changed = threading.Condition()
        self._watched: dict[object, Deadline] = {}
        self._closed = False
        self.fired = False
        self._thread = threading.Thread(target=self._run, name="stall guard", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watch(self, deadline: Deadline) -> Iterator[Deadline]:
        """Break the connection when `deadline` passes inside; it may be renewed meanwhile."""
        token = object()
        with self._changed:
            self._watched[token] = deadline
            self._changed.notify()
        try:
            yield deadline
        finally:
            with self._changed:
                self._watched.pop(token, None)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        # Not waited for without a limit: a Ctrl-C may have left the lock behind.
        if self._changed.acquire(timeout=1.0):
            self._changed.notify()
            self._changed.release()

    def _run(self) -> None:
        with self._changed:
            while not self._closed and not self.fired:
                nearest = min((d.remaining for d in self._watched.values()), default=None)
                if nearest is not None and nearest <= 0.0:
                    self.fired = True
                    self._break_connection()
                else:
                    self._changed.wait(nearest)
