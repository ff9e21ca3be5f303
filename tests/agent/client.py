"""A small host for tests: starts the true agent over pipes and talks frames with it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from edgeopt_agent import wire

OWNER = {"host": "bench", "pid": 1, "user": "tester", "run": "r1"}


class Refused(Exception):
    """The agent answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.message = error["message"]
        self.detail = error["detail"]


class Client:
    """One agent process. `root` is its tree; leaving the context ends it as a host does, by closing stdin."""

    def __init__(
        self, python: str, agent: Path, root: Path, *options: str, environment: dict[str, str] | None = None
    ) -> None:
        self.root = root
        self.sentinel = secrets.token_hex(16)
        self.events: list[dict[str, Any]] = []
        self._next = 0
        argv = [python, "-I", "-B", str(agent), "serve", "--root", str(root), "--sentinel", self.sentinel, *options]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        received = b""
        while wire.after_sentinel(received, self.sentinel) is None:
            byte = self._stdout.read(1)
            if not byte:
                said = self._stderr.read().decode()
                self.close()
                raise AssertionError(said)
            received += byte

    @property
    def _stdin(self) -> Any:
        return self.process.stdin

    @property
    def _stdout(self) -> Any:
        return self.process.stdout

    @property
    def _stderr(self) -> Any:
        return self.process.stderr

    def __enter__(self) -> Client:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, verb: str, **args: Any) -> int:
        """Send a request without waiting; returns its id."""
        self._next += 1
        self.send_raw(wire.encode({"id": self._next, "verb": verb, "args": args}))
        return self._next

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._stdin.write(data)
        self._stdin.flush()

    def receive(self) -> dict[str, Any] | None:
        """Return the next frame, None at the end of the stream."""
        return wire.read_frame(self._stdout)

    def wait_for(self, number: int) -> dict[str, Any]:
        """Return the result of a request; its events are kept in `events`."""
        while True:
            message = self.receive()
            assert message is not None, self._stderr.read().decode()
            if message["id"] != number:
                continue
            if "event" in message:
                self.events.append(message["event"])
            elif "error" in message:
                raise Refused(message["error"])
            else:
                return message["result"]

    def wait_for_event(self, number: int, event: dict[str, Any]) -> None:
        """Return when request `number` has said `event`."""
        while True:
            message = self.receive()
            assert message is not None
            if message["id"] == number and message.get("event") == event:
                return

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        """Send a request and return its result."""
        return self.wait_for(self.send(verb, **args))

    def lock(self) -> None:
        """Take the device."""
        self.call("lock", purpose="test", owner=OWNER)

    def put(self, data: bytes) -> str:
        """Bring content to the device's blobs, as the host's link and the agent do it; returns its digest."""
        digest = hashlib.sha256(data).hexdigest()
        if self.call("have", digests=[digest])["missing"]:
            (self.root / "incoming" / f"{digest}.part").write_bytes(data)
            self.call("commit", digest=digest, bytes=len(data))
        return digest

    def close(self) -> int:
        """Close stdin and return the exit code."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        code = self.process.wait(20)
        self._stdout.close()
        self._stderr.close()
        return code

    def kill(self) -> None:
        """Kill the agent as the kernel would."""
        self.process.send_signal(signal.SIGKILL)
        self.close()


def file_entry(path: str, data: bytes) -> dict[str, Any]:
    """Return a row of a `files` list."""
    return {"path": path, "digest": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of the wire's document, written independently of the agent."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def wheel(files: dict[str, bytes]) -> bytes:
    """Return a zip with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def fake_runtime(session_body: str, *, version: str = "9.9.9", top: str = "") -> bytes:
    """Return a wheel of a stand-in onnxruntime whose InferenceSession does `session_body` when it is made."""
    body = "\n".join("        " + line for line in session_body.splitlines())
    source = f"""
import os, signal, sys, time
__version__ = "{version}"
{top}
class SessionOptions:
    def add_session_config_entry(self, name, value):
        setattr(self, name, value)
class ExecutionMode:
    ORT_SEQUENTIAL = 0
def get_available_providers():
    return ["CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, sess_options=None, providers=None):
{body}
"""
    return wheel({"onnxruntime/__init__.py": source.encode()})


def install_runtime(client: Client, content: bytes, *, version: str = "9.9.9") -> str:
    """Bring a wheel to the device and unpack it; returns its site folder. Needs the lock."""
    digest = client.put(content)
    return client.call(
        "runtime", name="onnxruntime", version=version, wheels=[{"file": "onnxruntime.whl", "digest": digest}]
    )["site"]


def children_of(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    found = []
    for other in processes():
        try:
            stat = Path(f"/proc/{other}/stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(other)
    return found


def processes() -> list[int]:
    """Return all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def is_running(pid: int) -> bool:
    """Say whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    descriptor = os.pidfd_open(pid) if is_running(pid) else None
    if descriptor is not None:
        import select

        ready, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert ready, f"{pid} is still running"
