"""The request loop: one thread reads, one beats, the main one answers, in order.

The reader owns stdin, so that the end of it is noticed while a request is being served. Then the main thread stops at its next check, kills its child, cleans up and
leaves; if it cannot (a disk that hangs), the process ends hard after a while: the lock and the children go with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from queue import SimpleQueue

from edgeopt_agent import origin
from edgeopt_agent.arguments import Arguments
from edgeopt_agent.errors import AgentError, Cancelled, printable, translate
from edgeopt_agent.session import Session, log
from edgeopt_agent.verbs import VERBS
from edgeopt_agent.wire import WireError, encode, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgeopt_agent.tree import Tree

_BEAT_S = 2.0
_MAX_WAITING = 64
"""Requests that may wait; more is a host that does not listen."""
_HARD_END_S = 10.0
_READ_BYTES = 64 << 10


class Server:
    """A conversation on two descriptors.

    Args:
        reader: where frames of the host come from.
        writer: where frames go; nothing else may write there.
        tree: the device tree.
        ephemeral: remove the root at the end.
        sysfs_root: where power sensors are looked for.
    """

    def __init__(self, reader: int, writer: int, tree: Tree, *, ephemeral: bool, sysfs_root: str = "/") -> None:
        self._reader = reader
        self._writer = writer
        self._send_lock = threading.Lock()
        self._requests: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._request_id = 0
        self._failed = False
        self.session = Session(tree, ephemeral=ephemeral, emit=self._emit, sysfs_root=sysfs_root)

    def run(self, sentinel: str) -> int:
        """Talk until the host is gone. Returns the exit code: 0 for a clean end, 1 after a violation of the protocol."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._close())
        signal.signal(signal.SIGCONT, lambda _number, _frame: self.session.continued())
        self._prepare()
        self._write(f"\n{sentinel}\n".encode("ascii"))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        try:
            self._answer_all()
        finally:
            self.session.close()
            self.session.clean_up()
        return 1 if self._failed else 0

    def _prepare(self) -> None:
        from edgeopt_agent.heal import heal_unless_busy, link_agent

        try:
            heal_unless_busy(self.session)
            if not self.session.ephemeral:
                link_agent(self.session.tree, origin.archive())
        except OSError as error:
            # A full or read-only disk: the verb that needs it will say so to the host.
            log(f"could not clean up: {error}")

    def _answer_all(self) -> None:
        while not self.session.is_closing:
            message = self._requests.get()
            if message is None:
                return
            try:
                self._answer(message)
            except Cancelled:
                return

    def _answer(self, message: dict[str, Any]) -> None:
        request_id = message.get("id")
        if not isinstance(request_id, int) or isinstance(request_id, bool) or request_id < 1:
            self._violated("a request without an id")
            return
        self._request_id = request_id
        try:
            result = self._serve(message)
            frame = encode({"id": request_id, "result": result})
        except Cancelled:
            raise
        except AgentError as error:
            frame = _error_frame(request_id, error)
        except OSError as error:
            frame = _error_frame(request_id, translate(error, self.session.tree.root))
        except Exception as error:  # noqa: BLE001 - the one place where whatever went wrong becomes an answer
            log(_traceback())
            text = f"{type(error).__name__}: {error}".split("\n", 1)[0]
            frame = _error_frame(request_id, AgentError("internal", f"the agent failed: {text}"))
        self._write(frame)

    def _serve(self, message: dict[str, Any]) -> dict[str, Any]:
        verb, args = message.get("verb"), message.get("args", {})
        serve = VERBS.get(verb) if isinstance(verb, str) else None
        if serve is None:
            raise AgentError("unknown-verb", f"there is no verb {printable(repr(verb), limit=60)}", verbs=sorted(VERBS))
        if not isinstance(args, dict):
            raise AgentError("bad-request", "args is not an object")
        return serve(self.session, Arguments(args))

    def _emit(self, event: dict[str, Any]) -> None:
        self._write(encode({"id": self._request_id, "event": event}))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with self._send_lock:
            try:
                while view:
                    view = view[os.write(self._writer, view) :]
            except OSError:
                self._close()

    def _close(self) -> None:
        self.session.close()
        self._requests.put(None)

    def _violated(self, reason: str) -> None:
        self._failed = True
        log(f"protocol: {reason}")
        self._write(_error_frame(0, AgentError("protocol", reason)))
        self._close()

    def _read(self) -> None:
        try:
            self._read_frames()
        except WireError as error:
            self._violated(str(error))
        except OSError as error:
            log(f"stdin: {error}")
        self._close()
        # The main thread ends the process long before this, unless the disk hangs; the lock and the children go with the process.
        time.sleep(_HARD_END_S)
        log("did not come to an end by itself")
        os._exit(1)

    def _read_frames(self) -> None:
        received = b""
        while not self._failed:
            data = os.read(self._reader, _READ_BYTES)
            if not data:
                if received:
                    raise WireError("the stream ended inside a frame")
                return
            received = self._queue(received + data)

    def _queue(self, received: bytes) -> bytes:
        while True:
            message, received = take(received)
            if message is None:
                return received
            if self._requests.qsize() >= _MAX_WAITING:
                raise WireError(f"more than {_MAX_WAITING} requests wait")
            self._requests.put(message)

    def _beat(self) -> None:
        count = 0
        while not self.session.is_closing:
            time.sleep(_BEAT_S)
            count += 1
            self._write(encode({"id": 0, "event": {"beat": count}}))


def take_streams() -> tuple[int, int]:
    """Move the wire off the standard descriptors, so that no print of a library can get into it. Returns (reader, writer)."""
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return reader, writer


def _error_frame(request_id: int, error: AgentError) -> bytes:
    body = {"code": error.code, "message": str(error), "detail": error.detail}
    try:
        return encode({"id": request_id, "error": body})
    except WireError:
        return encode({"id": request_id, "error": {**body, "detail": {}}})


def _traceback() -> str:
    import traceback

    return traceback.format_exc()
