"""Everything that the host wants to know of a device before it decides anything."""

from __future__ import annotations

import os
import pwd

from edgeopt_agent import runtime_store
from edgeopt_agent.clock import is_plausible, unix_s, utc_text
from edgeopt_agent.errors import printable
from edgeopt_agent.probes import board, cpu, disk, memory, power, put, python, thermal
from edgeopt_agent.runtimes import TABLE, open_runtime, python_folders
from edgeopt_agent.tree import make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgeopt_agent.session import Session

_IMPORT_TIMEOUT_S = 90.0
"""onnxruntime and numpy from an SD card, compiled for the first time."""


def gather(session: Session) -> dict[str, Any]:
    """Return the facts of the wire. Runtimes are imported once, in a child: a package that is there but does not load is not a runtime."""
    system = os.uname()
    now = unix_s()
    make_folder(session.tree.root)
    record: dict[str, Any] = {
        "system": system.sysname,
        "kernel": printable(system.release),
        "machine": system.machine,
        "libc": python.libc(),
        "python": python.facts(),
        "cpu": cpu.facts(),
        "memory": memory.facts(),
        "board": board.facts(),
        "disk": disk.facts(session.tree.root),
        "clock": {"utc": utc_text(now), "unix_s": now, "plausible": is_plausible(now)},
        "sensors": {"temperature": thermal.sensors()},
        "hostname": printable(system.nodename),
        "user": _user(),
        "edgeopt_root": session.tree.root,
    }
    if session.tree.more_runtimes is not None:
        record["lasting_disk"] = disk.facts(os.path.dirname(session.tree.more_runtimes.rstrip("/")))
    put(record, "governor", *cpu.governor())
    put(record["sensors"], "power", *power.facts(session.sysfs_root))
    if session.runtimes is None:
        session.runtimes = runtimes(session)
    record["runtimes"], record["runtimes_reason"] = session.runtimes
    return record


def _user() -> str:
    try:
        return printable(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return str(os.getuid())


def runtimes(session: Session) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the runtimes that load, and for each one that does not, why."""
    found: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    for name, version, site, key in _present(session, reasons):
        failure, reply = _import(session, name, site)
        if failure is not None:
            reasons[f"{name} {version} ({key or 'python'})"] = failure
            continue
        found.append(
            {
                "name": name,
                "version": reply["runtime_version"],
                "source": "python" if site is None else "edgeopt",
                "site": site,
                "key": key,
                "providers": reply["providers"],
            }
        )
    for name in TABLE:
        if not any(item["name"] == name for item in found) and not any(text.startswith(name) for text in reasons):
            reasons[name] = getattr(open_runtime(name), "LACK", "not installed for this Python")
    return found, reasons


def _present(session: Session, reasons: dict[str, str]) -> list[tuple[str, str, str | None, str | None]]:
    """Return (name, version, site, key) of what lies there, edgeopt's first."""
    present: list[tuple[str, str, str | None, str | None]] = []
    for folder, record in runtime_store.all_runtimes(session.tree):
        name, version, key = record["name"], record["version"], record["key"]
        if not runtime_store.fits(record):
            reasons[f"{name} {version} ({key})"] = (
                f"unpacked for {record.get('python')}, this Python is {runtime_store.python_tag()}"
            )
        elif name in TABLE:
            present.append((name, version, runtime_store.site_of(folder), key))
    for name in TABLE:
        own = open_runtime(name).find(python_folders())
        if own is not None:
            present.append((name, own, None, None))
    return present


def _import(session: Session, name: str, site: str | None) -> tuple[str | None, dict[str, Any]]:
    from edgeopt_agent import block

    job: dict[str, Any] = {"mode": "probe", "runtime": name, "site": site, "setting": {}, "memory_bytes": None}
    result = block.run(session, job, timeout_s=_IMPORT_TIMEOUT_S)
    return (result["failure"]["detail"], {}) if result["status"] != "ok" else (None, result)
