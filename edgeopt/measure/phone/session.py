"""A conversation with a phone: the same verbs as an agent's, answered here by way of its shell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from edgeopt.domain.device import Device
from edgeopt.errors import AgentLost, LinkError
from edgeopt.measure.phone import apps, scripts
from edgeopt.measure.phone.answers import signature_of
from edgeopt.measure.phone.blocks import Bench, ToolThere
from edgeopt.measure.phone.reading import facts, observed
from edgeopt.measure.phone.results import failed
from edgeopt.measure.phone.shell import Shell
from edgeopt.measure.phone.tools import TOOLS, Tool, gives_answers, tool_of
from edgeopt.measure.session import OnEvent, Session
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.link import Link, Stream
from edgeopt_agent.arguments import is_name
from edgeopt_agent.clock import utc_now
from edgeopt_agent.errors import AgentError, printable

ROOT = "/data/local/tmp/edgeopt"
"""The one folder of a phone where adb's shell may write and run programs."""

DEFAULT_ROOT = "~/.edgeopt"
_LOCK_S = 20.0
_NAMELESS_S = 5.0
_POLL_S = 0.2
_HELP_S = 20.0
_NOISE_BYTES = 64 << 10
_NEEDS_LOCK = frozenset({"block", "install", "activate", "rollback", "runtime", "collect"})

Args = dict[str, Any]
Result = dict[str, Any]


class PhoneSession(Session):
    """An open conversation with a phone. One lock, taken by a shell on the phone that lives as long as the session."""

    def __init__(self, device: Device, open_way: Callable[[], Link], *, ephemeral: bool = False) -> None:
        """Prepare, without touching the phone; see `Session`."""
        super().__init__(device, open_way, ephemeral=ephemeral)
        self._persistent = ROOT if device.root == DEFAULT_ROOT else device.root
        self._shell = Shell(lambda: self.link, device.name)
        self.nameless_s = _NAMELESS_S
        self._holder: Stream | None = None
        self._owner: dict[str, Any] | None = None
        self._facts: dict[str, Any] | None = None
        self._tools: dict[str, ToolThere] | None = None
        self._reasons: dict[str, str] = {}
        self._bench: Bench | None = None

    def open(self) -> None:
        """Connect.

        Raises:
            LinkError.
        """
        self._link = self._open_way()
        root = f"{self._persistent}-{secrets.token_hex(4)}" if self.ephemeral else self._persistent
        self.hello = {"root": root, "python": None, "python_reason": "a phone has none", "utc": utc_now()}
        self._scratch = f"{root}/scratch/{secrets.token_hex(6)}"

    def close(self) -> None:
        """Free the lock, remove what was only for this session, end the link. Never raises."""
        if self._link is not None and (self._bench is not None or self.ephemeral):
            self._remove(self.root if self.ephemeral else self._scratch)
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        self._bench, self._owner, self._facts, self._tools = None, None, None, None
        super().close()

    def _remove(self, folder: str) -> None:
        try:
            self.link.run(["rm", "-rf", folder], deadline_s=20.0)
        except (LinkError, AgentLost):
            return

    def describe(self, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        """Say what the network takes and gives: native programs name and shape nothing in the answers that they write."""
        with self._translated():
            self._bench_here().signature = signature_of(inputs, outputs)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The seam: an error in the agent's words leaves as the host's error of its code."""
        try:
            yield
        except AgentError as error:
            raise self._error({"code": error.code, "message": error.message, "detail": error.detail}) from error

    def call(
        self,
        verb: str,
        args: Args,
        *,
        timeout_s: float | None = None,  # noqa: ARG002 - each script has a limit of its own
        on_event: OnEvent | None = None,  # noqa: ARG002 - a shell tells nothing in between
    ) -> Result:
        """Answer one of the agent's verbs; see `Session.call`."""
        with self._translated():
            if verb in _NEEDS_LOCK and self._holder is None:
                raise AgentError("not-locked", f"`{verb}` needs the lock")
            answer: Callable[[Args], Result] | None = getattr(self, f"_{verb}", None) if verb in _VERBS else None
            if answer is None:
                raise AgentError("unknown-verb", f"a phone does not answer `{printable(verb, limit=40)}`")
            # As if it had travelled: plain JSON, so that tuples are lists.
            return answer(json.loads(json.dumps(args)))

    # --- the verbs -------------------------------------------------------------------------------------------------

    def _lock(self, args: Args) -> Result:
        who = {"owner": args["owner"], "purpose": args["purpose"], "since": utc_now()}
        nameless = Deadline(self.nameless_s)
        while self._holder is None:
            try:
                self._holder = self._take_lock(json.dumps(who))
            except AgentError as error:
                # Between taking the lock and saying so, and between the two at its end, a shell has no name yet or any more.
                if error.detail.get("holder") != {} or nameless.expired:
                    raise
                time.sleep(_POLL_S)
        self._owner = args["owner"]
        self._shell.run(scripts.HEAL, self.root)
        return {}

    def _take_lock(self, who: str) -> Stream:
        """Return the shell that holds the lock. Raises AgentError when another does, or it cannot be taken."""
        mark = secrets.token_hex(16)
        stream = self.link.start(["sh", "-c", scripts.LOCK, "edgeopt", self.root, mark, who])
        said = b""
        while f"\n{mark} held\n".encode() not in said:
            data = b"" if len(said) > _NOISE_BYTES else stream.read(_NOISE_BYTES, _LOCK_S)
            said += data
            if not data:
                tail = stream.stderr_tail()
                code = stream.exit_code(2.0)
                stream.close()
                raise _not_locked(said, mark, code, tail)
        return stream

    def _probe(self, _args: Args) -> Result:
        if self._facts is None:
            self._facts = facts(self._shell.parts(scripts.READ, self.root, "last"), self.root)
        tools = self._tools_there()
        listed = [
            {
                "name": name,
                "version": there.version,
                "source": "edgeopt",
                "site": there.program,
                "key": there.key,
                "providers": [there.tool.provider],
                "answers": there.answers,
            }
            for name, there in sorted(tools.items())
        ]
        return self._facts | {"runtimes": listed, "runtimes_reason": dict(self._reasons)}

    def _have(self, args: Args) -> Result:
        return apps.have(self._shell, self.root, args["digests"])

    def _commit(self, args: Args) -> Result:
        apps.commit(self._shell, self.root, args["digest"], int(args["bytes"]))
        return {}

    def _stage(self, args: Args) -> Result:
        return {
            "folder": apps.place(self._shell, self.root, f"{self.root}/staged/{_digest(args['digest'])}", args["files"])
        }

    def _runtime(self, args: Args) -> Result:
        files = args["files"]
        key = hashlib.sha256("\n".join(sorted(item["digest"] for item in files)).encode()).hexdigest()[:16]
        folder = f"{self.root}/runtimes/{key}"
        apps.place(self._shell, self.root, folder, files, runs=True)
        record = {"name": "command", "version": str(args["version"]), "files": files, "at": utc_now()}
        apps.write(self._shell, f"{folder}/runtime.json", json.dumps(record).encode())
        self._tools = None
        return {"key": key, "site": folder}

    def _block(self, args: Args) -> Result:
        there = self._tools_there().get(args["runtime"])
        if there is None:
            return failed("runtime-missing", "import", f"no program of {args['runtime']} is on the phone")
        match args["mode"]:
            case "time":
                return self._bench_here().timed(args, there)
            case "outputs":
                return self._bench_here().answers(args, there)
            case mode:
                return failed("error", "load", f"{there.tool.name} cannot be run as `{printable(str(mode), limit=20)}`")

    def _sample(self, _args: Args) -> Result:
        return {"conditions": [observed(self._shell.parts(scripts.READ, "", "last"))]}

    def _install(self, args: Args) -> Result:
        return {"folder": apps.install(self._shell, self.root, args["app"], args["manifest"], args["digest"])}

    def _activate(self, args: Args) -> Result:
        app = args["app"]
        if not is_name(app):
            raise AgentError("bad-request", "app: not a plain name")

        def check(folder: str, manifest: dict[str, Any]) -> dict[str, Any]:
            name = manifest["setting"]["runtime"]
            there = self._tools_there().get(name)
            if there is None or there.version != manifest.get("runtime_version"):
                raise AgentError(
                    "runtime-missing",
                    f"the program that this release was measured with ({name} {manifest.get('runtime_version')}) is not on the phone",
                )
            return self._bench_here().health(folder, manifest, there, float(args.get("timeout_s", 120.0)))

        return apps.activate(self._shell, self.root, app, _digest(args["digest"]), by=self._owner, check=check)

    def _rollback(self, args: Args) -> Result:
        return self._activate(args | {"digest": apps.target_of_rollback(self._shell, self.root, args["app"])})

    def _status(self, _args: Args) -> Result:
        return apps.status(self._shell, self.root, free_bytes=self._probe({})["disk"]["free_bytes"])

    # --- tools -----------------------------------------------------------------------------------------------------

    def _bench_here(self) -> Bench:
        if self._bench is None:
            cores = int(self._probe({})["cpu"]["usable_cores"])
            self._shell.ask('mkdir -p "$1"', self._scratch)
            self._bench = Bench(self._shell, lambda: self.link, self._scratch, cores)
        return self._bench

    def _tools_there(self) -> dict[str, ToolThere]:
        """Runtime -> the newest program of it that starts on this phone. Each is asked for its help once a session."""
        if self._tools is None:
            self._tools, self._reasons = {}, {}
            found = apps.read_tree(self._shell, self._persistent).runtimes
            for key, record in sorted(found.items(), key=lambda item: str(item[1].get("at")), reverse=True):
                for item in record["files"]:
                    tool = tool_of(item["path"])
                    if tool is not None and tool.runtime not in self._tools:
                        self._try(tool, key, item)
            for tool in TOOLS:
                if tool.runtime not in self._tools:
                    self._reasons.setdefault(tool.runtime, f"no {tool.name} was brought to the phone")
        return self._tools

    def _try(self, tool: Tool, key: str, item: dict[str, Any]) -> None:
        folder = f"{self._persistent}/runtimes/{key}"
        program = f"{folder}/{item['path']}"
        done = self._shell.run('LD_LIBRARY_PATH=$2 "$1" --help 2>&1', program, folder, deadline_s=_HELP_S)
        said = done.stdout.decode("utf-8", "replace")
        if tool.sign not in said:
            last = [line for line in said.splitlines() if line.strip()]
            self._reasons[tool.runtime] = (
                f"{item['path']} does not start on this phone: {printable(last[-1], limit=200) if last else f'it ends with {done.exit_code}'}"
            )
            return
        assert self._tools is not None  # noqa: S101 - the caller made it
        self._tools[tool.runtime] = ToolThere(
            tool=tool,
            program=program,
            folder=folder,
            version=f"sha256.{item['digest'][:12]}",
            key=key,
            answers=gives_answers(tool, said),
        )
        self._reasons.pop(tool.runtime, None)


_VERBS = frozenset(
    {
        "lock",
        "probe",
        "have",
        "commit",
        "stage",
        "runtime",
        "block",
        "sample",
        "install",
        "activate",
        "rollback",
        "status",
    }
)


def _not_locked(said: bytes, mark: str, code: int | None, stderr: bytes) -> AgentError:
    text = said.decode("utf-8", "replace")
    _, is_busy, rest = text.partition(f"\n{mark} busy\n")
    if is_busy:
        try:
            holder = json.loads(rest)
        except (ValueError, RecursionError):
            holder = {}
        return AgentError("busy", "another session holds the lock", holder=holder if isinstance(holder, dict) else {})
    return AgentError(
        "io-error",
        f"the lock cannot be taken ({code}): {printable(stderr.decode('utf-8', 'replace')) or 'it does not say why'}",
    )


def _digest(text: object) -> str:
    from edgeopt_agent.arguments import is_digest

    if not isinstance(text, str) or not is_digest(text):
        raise AgentError("bad-request", "digest: wanted 64 lower-case hex digits")
    return text
