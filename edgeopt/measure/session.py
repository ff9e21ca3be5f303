"""A conversation with the agent on one device: open, call verbs, notice at once when it dies.

One session is one agent process and one lock. Everything that goes wrong leaves as an error of `edgeopt.errors` that names the device.
"""

from __future__ import annotations

import getpass
import logging
import os
import platform
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec
from typing_extensions import Self

from edgeopt.domain.device import Device
from edgeopt.errors import (
    AgentError,
    AgentLost,
    DeviceBusy,
    DeviceError,
    DiskFull,
    HealthCheckFailed,
    LinkLost,
    LinkTimeout,
    NotInstalled,
    ReadOnly,
    RuntimeMissing,
)
from edgeopt.measure.agent_zip import build_agent
from edgeopt.measure.bootstrap import Landed, land_agent
from edgeopt.transport.link import Link, Stream
from edgeopt_agent import wire

log = logging.getLogger(__name__)

SILENCE_S = 20.0
"""The agent beats every 2 s, so ten missed beats mean a frozen device or a dead way."""

START_S = 90.0
"""Until the agent's first word, before which nothing beats: an interpreter from a slow card that compiles the agent, seconds on the slowest boards and more where others are at work."""

ANSWER_S = 60.0
PROBE_S = 400.0
"""A probe imports every runtime that is there, for the first time; the agent gives each of four 90 s."""

OWN_LOCK_S = 60.0
"""How long a session waits for a lock of its own earlier connection, or of a run of this user here that has ended: until the board's server notices that it is dead."""

_BY_CODE: dict[str, type[DeviceError]] = {
    "busy": DeviceBusy,
    "disk-full": DiskFull,
    "read-only": ReadOnly,
    "runtime-missing": RuntimeMissing,
    "health-check-failed": HealthCheckFailed,
    "not-installed": NotInstalled,
    "no-previous": NotInstalled,
}

_HINTS = {
    "disk-full": "Free some space there (edgeopt keeps only the current and the previous release) and try again.",
    "read-only": "Remount the file system writable, or name another folder with --root. A card that turns read-only by itself is often dying.",
    "runtime-missing": "Run: edgeopt device setup {device}",
    "health-check-failed": "Nothing was switched; what ran before still runs.",
    "no-previous": "Rolling back needs two installed releases.",
    "not-installed": "See what is there: edgeopt status --device {device}",
}

OnEvent = Callable[[dict[str, Any]], None]


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who is using the device, shown to whoever comes second."""

    host: str
    pid: int
    user: str
    run: str

    @classmethod
    def this_process(cls, run: str) -> Owner:
        """Describe this process; `run` is what it is doing it for."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # no passwd entry and no variables
            user = str(os.getuid())
        return cls(host=platform.node(), pid=os.getpid(), user=user, run=run)


class Session:
    """An open conversation. Use it as a context manager; leaving it ends the agent, which ends everything that it started."""

    def __init__(self, device: Device, open_way: Callable[[], Link], *, ephemeral: bool = False) -> None:
        """Prepare, without touching the device.

        Args:
            device: which board.
            open_way: opens a link to it; called again by `reopen`.
            ephemeral: leave nothing behind, not even the agent.
        """
        self.device = device
        self.ephemeral = ephemeral
        self._open_way = open_way
        self._link: Link | None = None
        self._stream: Stream | None = None
        self._buffer = b""
        self._next_id = 1
        self._locked_for: tuple[str, Owner] | None = None
        self.landed: Landed | None = None
        self.hello: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def link(self) -> Link:
        """The way to the device. Raises AgentLost when the session is closed."""
        if self._link is None:
            msg = f"{self.device.name}: the session is closed"
            raise AgentLost(msg)
        return self._link

    @property
    def root(self) -> str:
        """Absolute path of the agent's tree on the device."""
        return str(self.hello["root"])

    def open(self) -> None:
        """Connect, put the agent there when it is not, start it, shake hands.

        Raises:
            LinkError, PythonMissing, DiskFull, ReadOnly, AgentLost, AgentError.
        """
        self._link = self._open_way()
        agent, digest = build_agent()
        self.landed = land_agent(self._link, self.device, agent, digest, ephemeral=self.ephemeral)
        sentinel = secrets.token_hex(16)
        argv = [
            self.landed.python,
            "-I",
            "-B",
            self.landed.path,
            "serve",
            "--root",
            self.landed.root,
            "--sentinel",
            sentinel,
        ]
        if self.ephemeral:
            argv += ["--ephemeral", "--runtimes", f"{self.landed.persistent_root}/runtimes"]
        self._stream = self._link.start(argv)
        self._buffer = b""
        self._skip_noise(sentinel)
        owner = Owner.this_process("")
        client = {"host": owner.host, "pid": owner.pid, "user": owner.user}
        self.hello = self.call("hello", {"protocol": wire.PROTOCOL, "client": client})

    def reopen(self) -> None:
        """Connect again after the way broke, and take the lock again if it was held."""
        self.close()
        self.open()
        if self._locked_for is not None:
            self.lock(*self._locked_for)

    def close(self) -> None:
        """End the agent and the link. Never raises."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._link is not None:
            self._link.close()
            self._link = None

    def lock(self, purpose: str, owner: Owner) -> None:
        """Take the device for this session alone.

        After the way broke the board may hold the lock for a connection that is dead: that is waited for.

        Raises:
            DeviceBusy: it says who has it.
        """
        ends, had_it = time.monotonic() + OWN_LOCK_S, self._locked_for is not None
        while True:
            try:
                self.call("lock", {"purpose": purpose, "owner": msgspec.to_builtins(owner)})
            except DeviceBusy as busy:
                is_own = had_it and busy.holder.get("owner") == msgspec.to_builtins(owner)
                if not (is_own or _is_left_over(busy.holder, owner)) or time.monotonic() > ends:
                    raise
                time.sleep(0.5)
            else:
                self._locked_for = (purpose, owner)
                return

    def call(
        self, verb: str, args: dict[str, Any], *, timeout_s: float | None = None, on_event: OnEvent | None = None
    ) -> dict[str, Any]:
        """Ask for one thing and wait for the answer.

        Args:
            verb: see docs/wire-protocol.md.
            args: its arguments.
            timeout_s: limit for the whole request, ANSWER_S (PROBE_S of a probe) when None; silence of SILENCE_S ends it sooner.
            on_event: told of progress.

        Raises:
            AgentLost: the agent died.
            LinkLost, LinkTimeout: the way broke, or the device went silent.
            DeviceError: what the agent refused, as the class of its code.
        """
        number = self._next_id
        self._next_id += 1
        self._send(wire.encode({"id": number, "verb": verb, "args": args}))
        limit = timeout_s or (PROBE_S if verb == "probe" else ANSWER_S)
        ends = time.monotonic() + limit
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "result" in message:
                    result: dict[str, Any] = message["result"]
                    return result
                if "error" in message:
                    raise self._error(message["error"])
                if on_event is not None:
                    on_event(message.get("event", {}))
            if time.monotonic() > ends:
                msg = f"{self.device.name}: `{verb}` took longer than {limit:.0f} s"
                raise LinkTimeout(
                    msg, hint="The device may be overloaded; try again, or look at it with: edgeopt doctor."
                )

    def _send(self, data: bytes) -> None:
        if self._stream is None:
            msg = f"{self.device.name}: the session is closed"
            raise AgentLost(msg)
        try:
            self._stream.write(data)
        except LinkLost:
            # A dead agent and a dead way look alike from the writing end.
            self._raise_if_agent_died()
            raise

    def _receive(self) -> dict[str, Any]:
        while True:
            try:
                message, self._buffer = wire.take(self._buffer)
            except wire.WireError as error:
                msg = f"{self.device.name}: the agent's answer makes no sense ({error})"
                raise AgentError(
                    msg,
                    code="protocol",
                    hint="Something on the device writes into the agent's stream; look at its login files.",
                ) from error
            if message is not None:
                return message
            self._fill()

    def _fill(self, silence_s: float = SILENCE_S) -> None:
        if self._stream is None:
            msg = f"{self.device.name}: the session is closed"
            raise AgentLost(msg)
        try:
            data = self._stream.read(wire.MAX_FRAME_BYTES, silence_s)
        except LinkTimeout as error:
            msg = f"{self.device.name}: not a sign of life for {silence_s:.0f} s"
            raise LinkTimeout(
                msg, hint="The device is frozen, overloaded or off the network; what was sent so far is kept there."
            ) from error
        if not data:
            self._raise_if_agent_died()
            msg = f"{self.device.name}: the connection ended in the middle of a conversation"
            raise LinkLost(msg, hint="Run the same command again; uploads go on where they stopped.")
        self._buffer += data

    def _skip_noise(self, sentinel: str) -> None:
        while True:
            try:
                rest = wire.after_sentinel(self._buffer, sentinel)
            except wire.WireError as error:
                msg = f"{self.device.name}: the login prints more than {wire.MAX_NOISE_BYTES // 1024} KiB before the agent could speak"
                hint = "Let the shell's start-up files print only when the shell is interactive."
                raise AgentError(msg, code="noisy-login", hint=hint) from error
            if rest is not None:
                self._buffer = rest
                return
            self._fill(START_S)

    def _raise_if_agent_died(self) -> None:
        if self._stream is None:
            return
        code = self._stream.exit_code(2.0)
        if code is None:
            return
        tail = _last_line(self._stream.stderr_tail())
        said = f"; its last words: {tail}" if tail else ""
        msg = f"{self.device.name}: the agent on the device {_how(code)}{said}"
        raise AgentLost(
            msg,
            hint="Nothing was switched. If the device ran out of memory, try fewer or smaller variants (--recipes).",
        )

    def _error(self, error: dict[str, Any]) -> DeviceError:
        code = str(error.get("code", "internal"))
        message = f"{self.device.name}: {error.get('message', 'no message')}"
        hint = _HINTS.get(code, "").format(device=self.device.name) or None
        if code == "busy":
            message, hint = _busy(self.device.name, error.get("detail", {}).get("holder") or {})
        kind = _BY_CODE.get(code, AgentError)
        keeps_own = kind in (AgentError, NotInstalled)
        made = kind(message, hint=hint, code=code if keeps_own else None)
        if isinstance(made, DeviceBusy):
            made.holder = error.get("detail", {}).get("holder") or {}
        return made


def _is_left_over(holder: Mapping[str, Any], owner: Owner) -> bool:
    """Whether the holder is a process of the same user on this computer that has ended."""
    theirs = holder.get("owner") or {}
    return (theirs.get("host"), theirs.get("user")) == (owner.host, owner.user) and not _is_running(theirs.get("pid"))


def _is_running(pid: object) -> bool:
    """Whether there is such a process on this computer."""
    try:
        os.kill(pid if isinstance(pid, int) and pid > 0 else os.getpid(), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _busy(device: str, holder: dict[str, Any]) -> tuple[str, str]:
    owner = holder.get("owner") or {}
    if _is_left_over(holder, Owner.this_process("")):
        message = f"{device} still holds the lock of your earlier `{holder.get('purpose', '?')}` (process {owner.get('pid', '?')}), which has ended"
        return (
            message,
            "Its connection broke and the device has not noticed yet; it does by itself, after 15 minutes at most. Restarting the device frees it at once.",
        )
    who = f"{owner.get('user', '?')} on {owner.get('host', '?')} (process {owner.get('pid', '?')})"
    message = f"{device} is in use by {who} for `{holder.get('purpose', '?')}` since {holder.get('since', '?')}"
    return message, "Wait for it to end and try again; the lock goes away by itself when that process ends."


def _how(code: int) -> str:
    number = -code if code < 0 else code - 128
    if code < 0 or code > 128:
        try:
            return f"was ended by {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"ended with exit code {code}"


def _last_line(data: bytes) -> str:
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return "".join(c if c.isprintable() else " " for c in lines[-1])[:300] if lines else ""
