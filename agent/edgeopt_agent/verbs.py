"""The verbs of the wire, one function each: read the arguments, call the code that does it, shape the result. `VERBS` is all there is.

Modules are imported when their verb is first used: an agent that only waits stays small.
"""

from __future__ import annotations

import os
import sys

from edgeopt_agent import origin
from edgeopt_agent.clock import boot_id, utc_now
from edgeopt_agent.errors import AgentError, printable
from edgeopt_agent.wire import MAX_BODY_BYTES, PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.arguments import Arguments
    from edgeopt_agent.session import Session

    Result = dict[str, Any]

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
_MAX_SAMPLES = 600
_MAX_SAMPLES_BYTES = MAX_BODY_BYTES - 4096


def _hello(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import digests
    from edgeopt_agent.probes import put

    wanted = args.values.get("protocol")
    if wanted != PROTOCOL:
        raise AgentError(
            "protocol",
            f"this agent speaks protocol {PROTOCOL}, not {printable(repr(wanted), limit=20)}",
            protocol=PROTOCOL,
        )
    result: Result = {
        "protocol": PROTOCOL,
        "python": ".".join(map(str, sys.version_info[:3])),
        "pid": os.getpid(),
        "root": session.tree.root,
        "utc": utc_now(),
    }
    archive = origin.archive()
    put(
        result, "agent_sha256", digests.of_bytes(_content(archive)) if archive else None, "the agent runs from a folder"
    )
    put(result, "boot_id", boot_id(), "the kernel does not tell")
    return result


def _content(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _lock(session: Session, args: Arguments) -> Result:
    from edgeopt_agent.heal import heal
    from edgeopt_agent.session import log

    purpose = args.text("purpose")
    owner = {field: _plain(args.mapping("owner").get(field)) for field in ("host", "pid", "user", "run")}
    was_held = session.lock.is_held
    session.lock.take(purpose, owner)
    if not was_held:
        # When this agent started, another one may have been in the middle of a switch that it did not finish.
        try:
            heal(session.tree)
        except OSError as error:
            # The lock is what collect needs to make room on a full disk.
            log(f"could not clean up: {error}")
    return {}


def _plain(value: object) -> str | int | None:
    return value if isinstance(value, int) else printable(value, limit=120) if isinstance(value, str) else None


def _probe(session: Session, _args: Arguments) -> Result:
    from edgeopt_agent.facts import gather

    return gather(session)


def _have(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import content, runtime_store

    unpacked = runtime_store.wheel_digests(session.tree)
    return content.have(session.tree, args.digests("digests"), unpacked, lambda _: session.check())


def _commit(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import content

    say = content.at_most_every(0.5, lambda done: session.emit({"hashed": done}))

    def tick(done: int) -> None:
        session.check()
        say(done)

    content.commit(session.tree, args.digest("digest"), args.count("bytes"), tick)
    return {}


def _runtime(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import runtime_store

    session.need_lock()
    wheels = args.values.get("wheels")
    if not isinstance(wheels, list) or not 1 <= len(wheels) <= 200:
        raise AgentError("bad-request", "wheels: wanted a list of 1 to 200 wheels", field="wheels")
    checked = [_wheel(item) for item in wheels]
    session.runtimes = None
    key, site = runtime_store.add(session.tree, args.name("name"), args.text("version"), checked, session.check)
    return {"key": key, "site": site}


def _wheel(item: object) -> dict[str, str]:
    from edgeopt_agent.arguments import is_digest

    if isinstance(item, dict) and isinstance(item.get("file"), str) and is_digest(item.get("digest")):
        return {"file": printable(item["file"], limit=200), "digest": item["digest"]}
    raise AgentError("bad-request", "wheels: wanted {file, digest}", field="wheels")


def _stage(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import content

    return {"folder": content.stage(session.tree, args.digest("digest"), args.files("files"))}


def _block(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import block, job

    session.need_lock()
    checked = job.check(session, args)
    if checked["mode"] == "energy":
        from edgeopt_agent import energy

        return energy.run(session, checked)
    if checked["mode"] == "time":
        from edgeopt_agent import calm

        return calm.run(session, checked)
    return block.run(session, checked, timeout_s=checked["timeout_s"])


def _sample(session: Session, args: Arguments) -> Result:
    import json
    import time

    from edgeopt_agent import conditions
    from edgeopt_agent.probes import thermal

    seconds, period_s = args.number("seconds", 0, _HOUR_S), args.number("period_s", 0.05, _HOUR_S)
    sensors = thermal.sensors()
    found = [conditions.observe(sensors=sensors)]
    size = 0
    end = time.monotonic() + seconds
    while time.monotonic() + period_s <= end and len(found) < _MAX_SAMPLES:
        session.wait(period_s)
        observed = conditions.observe(sensors=sensors)
        size += len(json.dumps(observed)) + 1
        if size > _MAX_SAMPLES_BYTES // 2:
            break
        found.append(observed)
    return {"conditions": found}


def _install(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import install
    from edgeopt_agent.app_state import App

    session.need_lock()
    app = App(session.tree, args.name("app"))
    folder = install.install(
        session.tree, app, args.mapping("manifest"), args.digest("digest"), lambda _: session.check()
    )
    return {"folder": folder}


def _activate(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import install
    from edgeopt_agent.app_state import App

    session.need_lock()
    app = App(session.tree, args.name("app"))
    return install.activate(
        session, app, args.digest("digest"), timeout_s=args.number("timeout_s", 0.1, _DAY_S, default=120)
    )


def _rollback(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import install
    from edgeopt_agent.app_state import App

    session.need_lock()
    app = App(session.tree, args.name("app"))
    return install.rollback(session, app, timeout_s=args.number("timeout_s", 0.1, _DAY_S, default=120))


def _status(session: Session, _args: Arguments) -> Result:
    from edgeopt_agent import install

    return install.status(session.tree, session.lock.who())


def _collect(session: Session, args: Arguments) -> Result:
    from edgeopt_agent import content, install, runtime_store

    session.need_lock()
    keep = frozenset(args.digests("keep"))
    freed, used, installed = install.collect_releases(session.tree)
    freed += runtime_store.collect(session.tree, used)
    freed += content.collect_blobs(session.tree, keep)
    freed += content.collect_engines(session.tree, keep | installed)
    freed += content.collect_agents(session.tree, origin.archive())
    return {"freed_bytes": freed}


VERBS: dict[str, Callable[[Session, Arguments], Result]] = {
    "hello": _hello,
    "lock": _lock,
    "probe": _probe,
    "have": _have,
    "commit": _commit,
    "runtime": _runtime,
    "stage": _stage,
    "block": _block,
    "sample": _sample,
    "install": _install,
    "activate": _activate,
    "rollback": _rollback,
    "status": _status,
    "collect": _collect,
}
