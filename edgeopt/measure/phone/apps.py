"""Content, releases and tools in the tree on a phone: the same tree as the agent's (docs/wire-protocol.md), the same commit point, rename(2) of `current`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.measure.phone import scripts
from edgeopt.measure.phone.shell import Shell, count, lines
from edgeopt_agent import digests
from edgeopt_agent.app_state import true_history
from edgeopt_agent.arguments import files_problem, is_digest, is_name
from edgeopt_agent.clock import utc_now
from edgeopt_agent.errors import AgentError, printable

Manifest = dict[str, Any]
Check = Callable[[str, Manifest], dict[str, Any]]
"""(folder of a release, its manifest) -> health, or AgentError."""

_HASH_BYTES_PER_S = 5e6
_MAX_HISTORY = 50


class AppThere(msgspec.Struct, kw_only=True):
    """An app on the phone: what its links name, what was activated, and the manifests of its releases (None: damaged)."""

    name: str
    current: str | None = None
    linked_previous: str | None = None
    history: list[dict[str, Any]] = []
    releases: dict[str, Manifest | None] = {}

    @property
    def previous(self) -> str | None:
        """Where a rollback would go: the newest release of the history that is not current and has its manifest."""
        names = [entry["digest"] for entry in reversed(self.history)]
        return next((name for name in names if name != self.current and self.releases.get(name) is not None), None)


class Tree(msgspec.Struct, kw_only=True):
    """Everything that is installed."""

    apps: dict[str, AppThere] = {}
    runtimes: dict[str, dict[str, Any]] = {}
    blobs_bytes: int = 0
    holder: dict[str, Any] | None = None


def have(shell: Shell, root: str, wanted: Sequence[str]) -> dict[str, Any]:
    """Say what of `wanted` must be sent, and how much of it came already; damaged content is removed."""
    _check(all(is_digest(digest) for digest in wanted), "digests")
    said = shell.ask(scripts.HAVE, root, stdin=lines([[digest] for digest in wanted]), deadline_s=600.0)
    states = dict(words for line in said.splitlines() if len(words := line.split()) == 2)
    missing = [digest for digest in dict.fromkeys(wanted) if states.get(digest) != "whole"]
    partial = {digest: count(states.get(digest)) for digest in missing}
    return {"missing": missing, "partial": {digest: size for digest, size in partial.items() if size is not None}}


def commit(shell: Shell, root: str, digest: str, size: int) -> None:
    """Verify an upload and make it content, durably.

    Raises:
        AgentError: digest-mismatch (the upload is removed), missing-blob.
    """
    _check(is_digest(digest), "digest")
    said = shell.ask(scripts.COMMIT, root, digest, str(size), deadline_s=_hash_s(size)).split()
    if said == ["done"]:
        return
    if said == ["missing"]:
        raise AgentError("missing-blob", f"{digest[:12]} was not uploaded", digest=digest)
    raise AgentError(
        "digest-mismatch", f"{digest[:12]} arrived with another {' '.join(said) or 'content'}", digest=digest
    )


def place(shell: Shell, root: str, folder: str, files: Sequence[Mapping[str, Any]], *, runs: bool = False) -> str:
    """Fill a folder with content under its own names.

    Raises:
        AgentError: missing-blob, bad-request.
    """
    problem = files_problem(list(files))
    _check(problem is None, f"files: {problem}")
    rows = lines([(item["digest"], item["bytes"], item["path"]) for item in files])
    said = shell.ask(
        scripts.PLACE,
        root,
        folder,
        "run" if runs else "read",
        stdin=rows,
        deadline_s=_hash_s(sum(int(item["bytes"]) for item in files)),
    )
    if said.split()[:1] != ["done"]:
        raise AgentError("missing-blob", f"{printable(said, limit=90)} on the phone")
    return folder


def read_tree(shell: Shell, root: str) -> Tree:
    """Return all that is installed. Nothing of it is trusted: names, digests and manifests are checked."""
    found = Tree(apps={}, runtimes={})
    for part in shell.parts(scripts.APPS, root, at=1):
        kind, *words = part.words
        if kind == "app":
            _take_app(found, words)
        elif kind in ("state", "release"):
            _take_of_app(found, kind, words, part.text)
        elif kind == "runtime":
            _take_runtime(found, words, part.text)
        elif kind == "blobs" and words:
            found.blobs_bytes = (count(words[0]) or 0) * 1024
        elif kind == "holder":
            found.holder = _object(part.text)
    for app in found.apps.values():
        app.history = true_history(app.history, app.current)
    return found


def _take_app(found: Tree, words: Sequence[str]) -> None:
    if len(words) == 3 and is_name(words[0]):
        links = {"current": _target(words[1]), "linked_previous": _target(words[2])}
        found.apps[words[0]] = AppThere(name=words[0], history=[], releases={}, **links)


def _take_of_app(found: Tree, kind: str, words: Sequence[str], text: str) -> None:
    app = found.apps.get(words[0]) if words else None
    if app is None:
        return
    if kind == "state":
        app.history = _history(text)
    elif len(words) == 2 and is_digest(words[1]):
        app.releases[words[1]] = _manifest(text, words[1])


def _take_runtime(found: Tree, words: Sequence[str], text: str) -> None:
    record = _object(text)
    is_whole = (
        record is not None and files_problem(record.get("files")) is None and isinstance(record.get("version"), str)
    )
    if record is not None and is_whole and words and is_name(words[0]):
        found.runtimes[words[0]] = record


def _target(link: str) -> str | None:
    digest = link.rpartition("/")[2]
    return digest if is_digest(digest) else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _history(text: str) -> list[dict[str, Any]]:
    entries = (_object(text) or {}).get("history")
    return (
        [e for e in entries if isinstance(e, dict) and is_digest(e.get("digest"))] if isinstance(entries, list) else []
    )


def _manifest(text: str, digest: str) -> Manifest | None:
    found = _object(text)
    return (
        found if found is not None and digests.of_bytes(text.encode()) == digest and _problem(found) is None else None
    )


def _problem(manifest: Manifest) -> str | None:
    problem = files_problem(manifest.get("files"))
    if problem is not None:
        return f"files: {problem}"
    paths = {item["path"] for item in manifest["files"]}
    probe, setting = manifest.get("probe"), manifest.get("setting")
    if not isinstance(probe, dict) or not isinstance(setting, dict) or "outputs" not in probe:
        return "no probe or no setting"
    if not all(isinstance(probe.get(field), int | float) for field in ("rtol", "atol")):
        return "no tolerances"
    wanted = [manifest.get("model"), probe.get("inputs"), *([probe["outputs"]] if probe["outputs"] is not None else [])]
    return next((f"{name!r} is not among its files" for name in wanted if name not in paths), None)


def install(shell: Shell, root: str, app: str, manifest: Manifest, digest: str) -> str:
    """Make a release of content, verified and durable; returns its folder. Switches nothing; one that is there is repaired.

    Raises:
        AgentError: bad-request, digest-mismatch, missing-blob.
    """
    text = digests.canonical(manifest)
    _check(is_name(app) and manifest.get("app") == app, "app")
    if digests.of_bytes(text) != digest:
        raise AgentError("digest-mismatch", "the manifest does not hash to its name", digest=digest)
    problem = _problem(manifest)
    _check(problem is None, f"manifest: {problem}")
    files = manifest["files"]
    folder = f"{root}/apps/{app}/releases/{digest}"
    broken = verify(shell, folder, files)
    lacking = have(shell, root, [item["digest"] for item in files if item["path"] in broken])["missing"]
    if lacking:
        raise AgentError(
            "digest-mismatch",
            f"{lacking[0][:12]} is not on the phone any more; it must be sent again",
            digest=lacking[0],
        )
    if len(broken) == len(files):
        place(shell, root, folder, files)
    elif broken:
        rows = [(item["digest"], item["path"]) for item in files if item["path"] in broken]
        shell.ask(scripts.REPLACE, root, folder, stdin=lines(rows), deadline_s=_hash_s(_bytes(files)))
    write(shell, f"{folder}/manifest.json", text)
    return folder


def verify(shell: Shell, folder: str, files: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the paths of files that are not as they were; all of them when there is no such folder."""
    rows = lines([(item["digest"], item["path"]) for item in files])
    said = shell.ask(scripts.VERIFY, folder, stdin=rows, deadline_s=_hash_s(_bytes(files)))
    return {line.removeprefix("bad ") for line in said.splitlines() if line.startswith("bad ")}


def write(shell: Shell, path: str, data: bytes) -> None:
    """Write a file so that it is there whole, or as it was before."""
    shell.ask(scripts.WRITE, path, stdin=data)


def activate(
    shell: Shell, root: str, app: str, digest: str, *, by: dict[str, Any] | None, check: Check
) -> dict[str, Any]:
    """Check a release's files and health, then make it current.

    Raises:
        AgentError: not-installed, digest-mismatch, or what `check` raises; nothing was switched then.
    """
    there = read_tree(shell, root).apps.get(app)
    manifest = None if there is None else there.releases.get(digest)
    if there is None or manifest is None:
        raise AgentError("not-installed", f"{printable(app)} has no release {digest[:12]} on this phone")
    folder = f"{root}/apps/{app}/releases/{digest}"
    broken = verify(shell, folder, manifest["files"])
    if broken:
        raise AgentError(
            "digest-mismatch",
            f"{printable(min(broken))} of release {digest[:12]} is not as it was installed",
            digest=digest,
        )
    health = check(folder, manifest)
    if there.current != digest:
        home = f"{root}/apps/{app}"
        history = [*there.history, {"digest": digest, "activated_at": utc_now(), "by": by}][-_MAX_HISTORY:]
        write(shell, f"{home}/state.json", digests.canonical({"schema": 1, "history": history}))
        shell.ask(scripts.POINT, home, "current", f"releases/{digest}")
        there = msgspec.structs.replace(there, current=digest, history=history)
        if there.previous is not None:
            shell.ask(scripts.POINT, home, "previous", f"releases/{there.previous}")
    return {"current": digest, "previous": there.previous, "health": health}


def target_of_rollback(shell: Shell, root: str, app: str) -> str:
    """Return the release before the current one. Raises AgentError: not-installed, no-previous."""
    there = read_tree(shell, root).apps.get(app)
    if there is None or there.current is None:
        raise AgentError("not-installed", f"{printable(app)} is not installed on this phone")
    if there.previous is None:
        raise AgentError("no-previous", f"{printable(app)} has no other release to go back to")
    return there.previous


def status(shell: Shell, root: str, *, free_bytes: int | None) -> dict[str, Any]:
    """Return the answer to the verb `status`."""
    found = read_tree(shell, root)
    return {
        "apps": [_described(shell, root, app) for _, app in sorted(found.apps.items())],
        "runtimes": [
            {"name": "command", "version": record["version"], "key": key, "bytes": _bytes(record["files"])}
            for key, record in sorted(found.runtimes.items())
        ],
        "blobs_bytes": found.blobs_bytes,
        "disk_free_bytes": free_bytes,
        "lock": found.holder,
    }


def _described(shell: Shell, root: str, app: AppThere) -> dict[str, Any]:
    times = {entry["digest"]: entry.get("activated_at") for entry in app.history}
    current = app.releases.get(app.current or "")
    is_healthy = current is not None and not verify(
        shell, f"{root}/apps/{app.name}/releases/{app.current}", current["files"]
    )
    return {
        "app": app.name,
        "current": app.current,
        "previous": app.previous,
        "healthy_files": is_healthy,
        "releases": [
            {
                "digest": digest,
                "variant": None if manifest is None else printable(str(manifest.get("variant")), limit=80),
                "bytes": None if manifest is None else _bytes(manifest["files"]),
                "activated_at": times.get(digest),
            }
            for digest, manifest in sorted(app.releases.items())
        ],
        "setting": None if current is None else current.get("setting"),
    }


def _bytes(files: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(item["bytes"]) for item in files)


def _hash_s(size: int) -> float:
    return 60.0 + size / _HASH_BYTES_PER_S


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise AgentError("bad-request", f"{what}: not what is allowed")
