"""Run one of our own functions in a child process that cannot hurt the caller.

The libraries that read, rewrite and run models are large, native, and were not written for hostile input: they crash, print, allocate and hang.
So each piece of work is a child process with limits; whatever happens to it comes back as an answer or a `ConfinedFailure`.

The child is this package's `child` module, in an interpreter in isolated mode. It gets its request as JSON on stdin, answers with a JSON file in
its work folder, and knows a fixed table of tasks: nothing is unpickled, evaluated or imported by a name from a model.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeopt.compiler.refuse import OUT_OF_MEMORY_WORDS
from edgeopt.errors import BuildFailed

LAUNCH = "import sys; sys.path[:0] = sys.argv[1:]; from edgeopt.compiler.child import main; main()"
"""Isolated mode looks nowhere but in the installation; this package may lie in a checkout."""

ROOT = Path(__file__).resolve().parents[2]
ANSWER = "answer.json"
MAX_ANSWER_BYTES = 64 << 20
MAX_LOG_BYTES = 64 << 10
"""Kept of what the child prints; the rest is read and dropped, so that a talkative library never blocks."""

WATCH_S = 0.5
"""Between two looks of whoever wants to know how far a child is."""

INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "EDGEOPT_TORCH_DEVICE")
"""All that a child sees of the environment; coverage's own variables are added, so that what runs in children is counted."""

FailureKind = Literal["signal", "timeout", "memory", "error", "refused", "too-large", "stopped"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a child may use. `output_bytes` bounds each file that it writes and all outputs of a model together."""

    timeout_s: float = 300.0
    memory_bytes: int = 6 << 30
    output_bytes: int = 4 << 30


class ConfinedFailure(BuildFailed):
    """The child did not do its work. `kind` is for programs, `detail` is a sentence for people.

    kinds: signal (crashed), timeout, memory, error (a library raised), refused (the task said no: `code` says why), too-large, stopped (by us).
    """

    def __init__(self, kind: FailureKind, detail: str, *, code: str | None = None, log: str = "") -> None:
        super().__init__(detail, code=code)
        self.kind = kind
        self.detail = detail
        self.log = log


def run_confined(
    task: str,
    request: dict[str, Any],
    *,
    limits: Limits,
    workdir: Path,
    group: str | None = None,
    own_code: bool = False,
    watch: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run `task` of the child's table and return its answer, with `confinement` (peak memory, time, network) added.

    Args:
        task: a name in `child.TASKS`.
        request: JSON-able; paths as str.
        limits: of the child.
        workdir: exists; the child writes here and nowhere else. Its TMPDIR is a folder inside, removed afterwards.
        group: children of one group can be stopped together by `stop_group`.
        own_code: it runs code that the user named: the child keeps the network and the user's environment, and finds what this process finds.
        watch: called twice a second meanwhile.

    Raises:
        ConfinedFailure: whatever went wrong.
    """
    scratch = Path(tempfile.mkdtemp(prefix="child-", dir=workdir))
    try:
        log, status = _run_child(task, request, limits, scratch, group, own_code=own_code, watch=watch)
        return _answer(scratch, status, log, limits, _is_stopped(group))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_child(
    task: str,
    request: dict[str, Any],
    limits: Limits,
    scratch: Path,
    group: str | None,
    *,
    own_code: bool,
    watch: Callable[[], None] | None,
) -> tuple[str, int | None]:
    """Start the child and wait. Returns what it printed (the end of it) and its status; None when the deadline passed."""
    order = {
        "task": task,
        "request": request,
        "limits": msgspec.to_builtins(limits),
        "parent": os.getpid(),
        "scratch": str(scratch),
        "network": own_code,
    }
    deadline = time.monotonic() + limits.timeout_s
    with tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(order).encode())
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", LAUNCH, *_roots(), *(filter(None, sys.path) if own_code else ())],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            env=_environment(scratch, own_code=own_code),
            start_new_session=True,
        )
    try:
        with _registered(process, group):
            log, ended = _drain(process, deadline, watch)
            return log, process.wait() if ended else None
    finally:
        _kill(process)
        process.wait()
        if process.stdout:
            process.stdout.close()


def _roots() -> list[str]:
    """Where our packages lie: they are imported from where this process has them, in a source tree or installed."""
    agent = find_spec("edgeopt_agent")
    places = [str(ROOT)] + ([str(Path(agent.origin).parents[1])] if agent is not None and agent.origin else [])
    return list(dict.fromkeys(places))


def _environment(scratch: Path, *, own_code: bool) -> dict[str, str]:
    if own_code:
        return dict(os.environ) | {"ORT_DISABLE_TELEMETRY": "1", "TMPDIR": str(scratch)}
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    # ONNX Runtime from 1.29 on reports sessions to its maker unless the variable stands before the import.
    quiet = {"ORT_DISABLE_TELEMETRY": "1"}
    # Threads that wait for each other by spinning stand in each other's way where cores are few: a training step was measured at ten times its time.
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    # cuBLAS answers the same each time only with a workspace of fixed size.
    threads["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return kept | quiet | threads | {"TMPDIR": str(scratch), "HOME": str(scratch)}


def _drain(process: subprocess.Popen[bytes], deadline: float, watch: Callable[[], None] | None) -> tuple[str, bool]:
    """Read the child's output until it closes it or the deadline passes."""
    tail = b""
    stdout = process.stdout
    if stdout is None:
        return "", True
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return tail.decode(errors="replace"), False
            ready = selector.select(left if watch is None else min(left, WATCH_S))
            if watch is not None:
                watch()
            if not ready:
                continue
            chunk = os.read(stdout.fileno(), 65536)
            if not chunk:
                return tail.decode(errors="replace"), _ends_by(process, deadline)
            tail = (tail + chunk)[-MAX_LOG_BYTES:]


def _ends_by(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Whether a child that closed its output also ends in time."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started. It leads its own process group; a reaped leader's number is not used again while it is unreaped."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _answer(scratch: Path, status: int | None, log: str, limits: Limits, stopped: bool) -> dict[str, Any]:
    if status is None:
        raise ConfinedFailure("timeout", f"it was not done after {limits.timeout_s:g} s", log=log)
    if stopped:
        raise ConfinedFailure("stopped", "it was stopped", log=log)
    path = scratch / ANSWER
    if status != 0 or not path.is_file():
        raise _death(status, log, limits)
    if path.stat().st_size > MAX_ANSWER_BYTES:
        raise ConfinedFailure("too-large", "its answer is too large", log=log)
    answer: dict[str, Any] = json.loads(path.read_bytes())
    if "failure" in answer:
        failure = answer["failure"]
        raise ConfinedFailure(failure["kind"], _detail(failure, limits), code=failure.get("code"), log=log)
    return answer


def _detail(failure: dict[str, Any], limits: Limits) -> str:
    if failure["kind"] == "memory":
        return _out_of_memory(limits)
    return str(failure["detail"])


def _out_of_memory(limits: Limits) -> str:
    return f"it needs more than the {limits.memory_bytes / 2**30:.1f} GiB of memory it is given"


def _death(status: int, log: str, limits: Limits) -> ConfinedFailure:
    """Say why a child is dead that wrote no answer."""
    if any(word in log[-4096:] for word in OUT_OF_MEMORY_WORDS):
        return ConfinedFailure("memory", _out_of_memory(limits), log=log)
    if status == -signal.SIGKILL:
        return ConfinedFailure("memory", "it was killed from outside, most likely because memory ran out", log=log)
    if status == -signal.SIGXFSZ:
        return ConfinedFailure("too-large", "it wrote too large a file", log=log)
    if status < 0:
        return ConfinedFailure("signal", f"it crashed ({_signal_name(-status)})", log=log)
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
    return ConfinedFailure("error", f"it ended with status {status}" + (f": {last[:300]}" if last else ""), log=log)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_lock = threading.Lock()
_running: dict[str, set[subprocess.Popen[bytes]]] = {}
_stopped: set[str] = set()


@contextlib.contextmanager
def _registered(process: subprocess.Popen[bytes], group: str | None) -> Iterator[None]:
    """Hold the child where `stop_group` finds it; a child of a stopped group does not begin."""
    if group is None:
        yield
        return
    with _lock:
        _running.setdefault(group, set()).add(process)
        if group in _stopped:
            _kill(process)
    try:
        yield
    finally:
        with _lock:
            _running[group].discard(process)


def _is_stopped(group: str | None) -> bool:
    with _lock:
        return group in _stopped


def stop_group(group: str) -> None:
    """Kill every child of a group of this process, and any that would still begin. For Ctrl-C: children are out of the terminal's reach."""
    with _lock:
        _stopped.add(group)
        for process in _running.get(group, ()):
            _kill(process)
