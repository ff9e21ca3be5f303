"""A TCP proxy that is slow or broken in the way a test or a benchmark wants.

    with Proxy("127.0.0.1", server.port, rtt_s=0.04) as proxy:
        open_link(f"ssh://127.0.0.1:{proxy.port}", ...)

It runs in a thread of its own with asyncio. Delay adds time and takes no bandwidth away.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

_BLOCK_BYTES = 256 << 10
_IN_FLIGHT_BYTES = 64 << 20


class Proxy:
    """Forward connections to one server.

    Args:
        host: the server's.
        port: the server's.
        rtt_s: time that a round trip takes longer than without the proxy.
    """

    def __init__(self, host: str, port: int, rtt_s: float = 0.0) -> None:
        self._target = (host, port)
        self._delay_s = rtt_s / 2
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._left: int | None = None
        self._flip: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.to_server_bytes = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_BLOCK_BYTES))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def stall(self) -> None:
        """Take bytes and pass none on, as a network that has lost its route."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Undo `stall`."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut_after(self, count: int) -> None:
        """Reset every connection once `count` more bytes went to the server."""
        self._left = count

    def flip_byte_after(self, count: int) -> None:
        """Damage the byte towards the server that follows `count` more."""
        self._flip = count

    def half_close(self) -> None:
        """End the direction from the server to the client, and keep the other open."""

        def end() -> None:
            for writer in self._writers:
                if getattr(writer, "to_client", False):
                    with contextlib.suppress(OSError):
                        writer.write_eof()

        self._loop.call_soon_threadsafe(end)

    def close(self) -> None:
        """Reset what is open and stop."""
        self._do(self._shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Proxy:  # noqa: PYI034  typing.Self is newer than the oldest Python
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, job):
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10.0)

    async def _shutdown(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        self._abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.to_client = True  # type: ignore[attr-defined]
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=_BLOCK_BYTES)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        for source, sink, up in ((reader, far_writer, True), (far_reader, writer, False)):
            task = self._loop.create_task(self._pump(source, sink, up=up))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        flight: deque[tuple[float, bytes]] = deque()
        changed = asyncio.Event()
        sender = self._loop.create_task(self._send(flight, changed, sink, up=up))
        self._tasks.add(sender)
        held = 0
        with contextlib.suppress(OSError):
            while data := await source.read(_BLOCK_BYTES):
                flight.append((self._loop.time() + self._delay_s, data))
                changed.set()
                held = sum(len(d) for _, d in flight) if held > _IN_FLIGHT_BYTES else held + len(data)
                while held > _IN_FLIGHT_BYTES:
                    await asyncio.sleep(0.001)
                    held = sum(len(d) for _, d in flight)
        flight.append((self._loop.time() + self._delay_s, b""))
        changed.set()
        await sender

    async def _send(self, flight, changed: asyncio.Event, sink: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                while not flight:
                    changed.clear()
                    await changed.wait()
                due, data = flight.popleft()
                if (pause := due - self._loop.time()) > 0:
                    await asyncio.sleep(pause)
                await self._flowing.wait()
                if not data:
                    sink.write_eof()
                    return
                sink.write(self._spoil(data) if up else data)
                await sink.drain()
                if self._left is not None and self._left <= 0:
                    self._abort()
                    return

    def _spoil(self, data: bytes) -> bytes:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if self._flip is not None:
            if self._flip < len(data):
                at, self._flip = self._flip, None
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            else:
                self._flip -= len(data)
        self.to_server_bytes += len(data)
        return data
