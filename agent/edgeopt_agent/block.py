"""The agent's side of a block: start the child, listen, end it when its time is up or the host is gone, and name what happened to it."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time

from edgeopt_agent import conditions, origin
from edgeopt_agent.errors import Cancelled, printable
from edgeopt_agent.probes import memory, thermal
from edgeopt_agent.wire import WireError, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from edgeopt_agent.session import Session

_MEMORY_SHARE = 0.9
_GRACE_S = 2.0
"""Between SIGTERM and SIGKILL, and for a child that has replied to come to its end."""
_KEPT_BYTES = 32 << 10
"""Of what a child prints, so much is kept from its beginning and from its end."""
_PASSED_ON = ("HOME", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "COVERAGE_PROCESS_CONFIG")
"""What a child may know of the login. Nothing that steers threads, affinity or allocators is among it: those belong to the setting."""
_FIXED = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
"""numpy's own BLAS does nothing here, but would reserve memory for every core."""
_CLD_STOPPED, _CLD_CONTINUED = 5, 6
"""`si_code` of a child that was stopped, and of one that goes on; Python has a name for the first from 3.9 on."""
_DOING = {
    "import": "importing the runtime",
    "load": "loading",
    "first": "in the first inference",
    "warmup": "warming up",
    "timed": "in a timed inference",
    "outputs": "computing outputs",
}


class Output:
    """The beginning and the end of what a child prints."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""

    def add(self, data: bytes) -> None:
        """Keep what belongs to the beginning or, for now, to the end."""
        room = _KEPT_BYTES - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[max(room, 0) :])[-_KEPT_BYTES:]

    def text(self) -> str:
        """Return everything that was kept."""
        return (self._head + self._tail).decode("utf-8", "replace")

    def last_line(self) -> str:
        """Return the last line that says something."""
        lines = [line for line in self.text().splitlines() if line.strip()]
        return printable(lines[-1]) if lines else ""


class Child:
    """A running block child and the three ways in which it is heard: replies, prints, its end."""

    def __init__(self, job: dict[str, Any], *, environment: dict[str, str]) -> None:
        self._reply_reader, reply_writer = os.pipe()
        try:
            # A session of its own: the group can be killed as one, and the terminal's signals do not reach it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", origin.runnable(), "block-child", str(reply_writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(reply_writer,),
                start_new_session=True,
                env=environment,
                cwd="/",
            )
        except OSError:
            os.close(self._reply_reader)
            raise
        finally:
            os.close(reply_writer)
        assert self._process.stdout is not None  # noqa: S101
        self._output = self._process.stdout
        self._exit_reader, exit_writer = os.pipe()
        self._open = {self._exit_reader, self._reply_reader, self._output.fileno()}
        self._received = b""
        self.messages: list[dict[str, Any]] = []
        self.printed = Output()
        self.stops = 0
        """How often somebody stopped it (SIGSTOP), as the kernel tells its parent."""
        threading.Thread(target=self._watch, args=(exit_writer,), daemon=True).start()
        self._give(encode_job(job))

    def _give(self, job: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(job)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it died at once; how is told by its end

    def _watch(self, writer: int) -> None:
        """Count stops; close `writer` when the process has ended, without reaping it."""
        pid = self._process.pid
        moved = os.WSTOPPED | os.WCONTINUED
        was_stopped = False
        with contextlib.suppress(OSError):
            while True:
                found = os.waitid(os.P_PID, pid, os.WEXITED | moved | os.WNOWAIT)
                if found is None or found.si_code not in (_CLD_STOPPED, _CLD_CONTINUED):
                    break
                # Taken off the list. A short stop may be over before this thread runs: then only that it goes on is told.
                news = os.waitid(os.P_PID, pid, moved | os.WNOHANG)
                is_stop = news is not None and news.si_code == _CLD_STOPPED
                self.stops += is_stop or not was_stopped
                was_stopped = is_stop
        os.close(writer)

    def listen(self, until: float, wake: int) -> str:
        """Wait for the next thing to happen.

        Returns:
            "reply" when new messages may be there, "end" when the child has ended, "wake" when the host is gone, "late" at `until` (monotonic seconds).
        """
        while True:
            left = until - time.monotonic()
            ready, _, _ = select.select([wake, *self._open], [], [], max(left, 0.0))
            if wake in ready:
                return "wake"
            if self._output.fileno() in ready:
                self.printed.add(self._read(self._output.fileno()))
            if self._reply_reader in ready and self._receive(self._read(self._reply_reader)):
                return "reply"
            if self._exit_reader in ready:
                return "end"
            if left <= 0:
                return "late"

    def _read(self, descriptor: int) -> bytes:
        data = os.read(descriptor, 1 << 16)
        if not data:
            self._open.discard(descriptor)
        return data

    def _receive(self, data: bytes) -> bool:
        self._received += data
        before = len(self.messages)
        while True:
            message, self._received = take(self._received)
            if message is None:
                return len(self.messages) > before
            self.messages.append(message)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group. The child is not reaped before `finish`, so the group's number is still its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def finish(self) -> int:
        """Kill what is left of the group, reap the child, hear its last words; returns its exit code, negative for a signal."""
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        self._drain()
        return code

    def _drain(self) -> None:
        for descriptor, keep in ((self._output.fileno(), self.printed.add), (self._reply_reader, self._receive)):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(WireError):  # it died in the middle of a frame
                _read_rest(descriptor, keep)
        self._output.close()
        os.close(self._reply_reader)
        os.close(self._exit_reader)


def encode_job(job: dict[str, Any]) -> bytes:
    """Return a job as the child reads it."""
    import json

    return json.dumps(job, allow_nan=False).encode("ascii")


def _read_rest(descriptor: int, keep: Callable[[bytes], object]) -> None:
    # Bounded: something that escaped from the group may go on printing.
    for _ in range(64):
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:
            return
        if not data:
            return
        keep(data)


def _environment(login: Mapping[str, str]) -> dict[str, str]:
    return {**{name: login[name] for name in _PASSED_ON if name in login}, **_FIXED}


class Listener:
    """Follows one child to its end and remembers what it said."""

    def __init__(self, session: Session, child: Child, timeout_s: float) -> None:
        self._session = session
        self._child = child
        self._until = time.monotonic() + timeout_s
        self.phase = "import"
        self.answer: dict[str, Any] | None = None
        self.is_late = False

    def follow(self) -> None:
        """Listen until there is an answer, an end, or no more time. Raises Cancelled when the host is gone; the group is dead then."""
        while self.answer is None:
            what = self._listen()
            self._take_messages()
            if what == "end":
                return
            if what == "late" and self.answer is None:
                self.is_late = True
                self._child.signal(signal.SIGTERM)
                break
        self._await_end()

    def _await_end(self) -> None:
        self._until = time.monotonic() + _GRACE_S
        while self._listen() not in ("end", "late"):
            pass

    def _listen(self) -> str:
        try:
            what = self._child.listen(self._until, self._session.wake_descriptor)
        except WireError:
            return "end"
        if what == "wake":
            self._child.finish()
            raise Cancelled
        return what

    def _take_messages(self) -> None:
        for message in self._child.messages:
            if isinstance(message.get("phase"), str):
                self.phase = message["phase"]
                self._session.emit({"phase": self.phase})
            else:
                self.answer = message
        self._child.messages.clear()

    def last_words(self) -> None:
        """Take what came between the last look and the end."""
        self._take_messages()


def run(session: Session, job: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """Run one block.

    Args:
        session: for events, and to notice that the host is gone.
        job: what the child gets; checked. `memory_bytes` None means 90 % of what is available.
        timeout_s: the child is ended then.

    Returns:
        A block result of the wire, `ok` or `failed`.

    Raises:
        Cancelled: the host is gone; the child is dead.
    """
    sensors = thermal.sensors()
    before = conditions.observe(sensors=sensors)
    if job["memory_bytes"] is None and before["mem_available_bytes"] is not None:
        job = {**job, "memory_bytes": int(_MEMORY_SHARE * before["mem_available_bytes"])}
    started_ns, own_cpu_s, oom_kills, stops = time.monotonic_ns(), _cpu_s(), _oom_kills(), session.stops
    child = Child({**job, "agent_pid": os.getpid()}, environment=_environment(os.environ))
    listener = Listener(session, child, timeout_s)
    listener.follow()
    code = child.finish()
    listener.last_words()
    after = conditions.observe(sensors=sensors)
    answer = listener.answer or {}
    doubts = conditions.flags(before, after, own_cpu_s=_cpu_s() - own_cpu_s, ticks_per_s=os.sysconf("SC_CLK_TCK"))
    if child.stops or session.stops > stops:
        doubts.append("stopped")
    record: dict[str, Any] = {
        "conditions_before": before,
        "conditions_after": after,
        "wall_ns": time.monotonic_ns() - started_ns,
    }
    if "result" in answer:
        result = answer["result"]
        return {"status": "ok", **result, **record, "flags": list(dict.fromkeys(doubts + _doubts_of(result, job)))}
    failure = answer.get("failure") or name_end(
        code,
        listener.phase,
        child.printed,
        is_late=listener.is_late,
        timeout_s=timeout_s,
        was_oom=_oom_kills() > oom_kills,
    )
    return {"status": "failed", "failure": _explain(failure, job), **record, "flags": doubts}


def _doubts_of(result: dict[str, Any], job: dict[str, Any]) -> list[str]:
    doubts = list(result.get("flags", []))
    if result.get("steady") is False:
        doubts.append("unsteady")
    if "provider_used" in result and result["provider_used"] != job["setting"]["provider"]:
        doubts.append("provider-fallback")
    return doubts


def name_end(
    code: int, phase: str, printed: Output, *, is_late: bool, timeout_s: float, was_oom: bool
) -> dict[str, Any]:
    """Name the end of a child that sent no result.

    Args:
        code: exit code, negative for a signal.
        phase: where it was.
        printed: what it wrote to stdout and stderr.
        is_late: its time was up, and it was ended for that.
        timeout_s: that time.
        was_oom: the kernel killed something for lack of memory meanwhile.
    """
    doing = _DOING.get(phase, phase)
    said = printed.last_line()
    tail = f": {said}" if said else ""
    if is_late:
        return {"kind": "timeout", "phase": phase, "detail": f"no end within {timeout_s:g} s while {doing}"}
    if code == -signal.SIGKILL and was_oom:
        return {"kind": "memory", "phase": phase, "detail": f"killed by the kernel for lack of memory while {doing}"}
    if "bad_alloc" in printed.text():
        return {"kind": "memory", "phase": phase, "detail": f"std::bad_alloc while {doing}"}
    if code < 0:
        return {"kind": "signal", "phase": phase, "detail": f"{_signal_name(-code)} while {doing}{tail}"}
    return {"kind": "error", "phase": phase, "detail": f"the process ended with exit code {code} while {doing}{tail}"}


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (an instruction that this CPU does not have)" if name == "SIGILL" else name


def _explain(failure: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    site = job["site"]
    if failure["kind"] != "runtime-missing" or site is None:
        return failure
    try:
        is_noexec = bool(os.statvfs(site).f_flag & os.ST_NOEXEC)
    except OSError:
        return failure
    return (
        {**failure, "detail": f"{failure['detail']} (the file system of {site} is mounted noexec)"}
        if is_noexec
        else failure
    )


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _oom_kills() -> int:
    return memory.counters().get("oom_kill", 0)
