"""Install, check, switch, go back: the only code that changes what an app runs."""

from __future__ import annotations

import os

from edgeopt_agent import digests, release, runtime_store
from edgeopt_agent.app_state import App, all_apps
from edgeopt_agent.content import file_bytes, place
from edgeopt_agent.errors import AgentError
from edgeopt_agent.tree import (
    build_folder,
    fsync_folder,
    fsync_tree,
    link_or_copy,
    make_folder,
    names,
    remove_file,
    remove_tree,
    temporary_beside,
    write_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.session import Session
    from edgeopt_agent.tree import Tree

    Tick = Callable[[int], None]


def install(tree: Tree, app: App, manifest: dict[str, Any], digest: str, tick: Tick) -> str:
    """Make a release of blobs, verified and durable; returns its folder. Switches nothing; a release that is there is repaired.

    Raises:
        AgentError: `bad-request`, `digest-mismatch`, `missing-blob`.
    """
    text = release.check_manifest(manifest, app.name, digest)
    folder = app.release(digest)
    if os.path.isdir(folder):
        _repair(tree, folder, manifest, text, tick)
        return folder
    _verify_blobs(tree, manifest["files"], tick)

    def build(fresh: str) -> None:
        place(tree, manifest["files"], fresh)
        write_file(os.path.join(fresh, release.MANIFEST), text)

    build_folder(folder, build, durable=True)
    return folder


def _verify_blobs(tree: Tree, files: list[dict[str, Any]], tick: Tick) -> None:
    for item in files:
        blob = tree.blob(item["digest"])
        if file_bytes(blob) is None:
            raise AgentError(
                "missing-blob", f"{item['path']} ({item['digest'][:12]}) is not on the device", digest=item["digest"]
            )
        found, _ = digests.of_file(blob, tick)
        if found != item["digest"]:
            # It was right when it came: the storage lost it. Removed, so that it is sent again.
            remove_file(blob)
            raise AgentError(
                "digest-mismatch",
                f"{item['path']} changed on the device's storage; it must be sent again",
                digest=item["digest"],
            )


def _repair(tree: Tree, folder: str, manifest: dict[str, Any], text: bytes, tick: Tick) -> None:
    """Replace what is broken in a release, file by file: it may be the current one."""
    broken = [
        item
        for item in manifest["files"]
        if file_bytes(os.path.join(folder, item["path"])) != item["bytes"]
        or digests.of_file(os.path.join(folder, item["path"]), tick)[0] != item["digest"]
    ]
    if not broken and release.read(folder) is not None:
        return
    _verify_blobs(tree, broken, tick)
    for item in broken:
        target = os.path.join(folder, item["path"])
        make_folder(os.path.dirname(target))
        fresh = temporary_beside(target)
        link_or_copy(tree.blob(item["digest"]), fresh)
        os.replace(fresh, target)
    write_file(os.path.join(folder, release.MANIFEST), text)
    fsync_tree(folder)


def activate(session: Session, app: App, digest: str, *, timeout_s: float) -> dict[str, Any]:
    """Check a release's health, then make it current. Checking what is current switches nothing.

    Raises:
        AgentError: `not-installed`, `digest-mismatch`, `runtime-missing`, `health-check-failed`; nothing was switched.
    """
    if not os.path.isdir(app.release(digest)):
        raise AgentError(
            "not-installed", f"{app.name} has no release {digest[:12]} on this device", app=app.name, digest=digest
        )
    health = check_health(session, app, digest, timeout_s=timeout_s)
    if app.current() != digest:
        fsync_tree(app.release(digest))
        fsync_folder(app.releases)
        app.switch(digest, _by(session))
    return {"current": digest, "previous": app.previous(), "health": health}


def rollback(session: Session, app: App, *, timeout_s: float) -> dict[str, Any]:
    """Make the release before the current one current, after its health check.

    Raises:
        AgentError: `not-installed`, `no-previous`, `health-check-failed`; nothing was switched.
    """
    if app.current() is None:
        raise AgentError("not-installed", f"{app.name} is not installed on this device", app=app.name)
    target = app.previous()
    if target is None:
        raise AgentError("no-previous", f"{app.name} has no other release to go back to", app=app.name)
    return activate(session, app, target, timeout_s=timeout_s)


def _by(session: Session) -> dict[str, Any] | None:
    return (session.lock.holder or {}).get("owner")


def check_health(session: Session, app: App, digest: str, *, timeout_s: float) -> dict[str, Any]:
    """Hash a release and run its probe inputs through its model, with its setting, in a child.

    Returns:
        {ok, max_abs_error, samples, ms}.

    Raises:
        AgentError: `digest-mismatch`, `runtime-missing`, `health-check-failed` with what the child said.
    """
    from edgeopt_agent import block

    folder = app.release(digest)
    manifest = release.read(folder)
    broken = release.MANIFEST if manifest is None else release.broken_file(folder, manifest, lambda _: session.check())
    if manifest is None or broken is not None:
        raise AgentError(
            "digest-mismatch",
            f"{broken} of release {digest[:12]} is not as it was installed",
            app=app.name,
            digest=digest,
        )
    name, version = release.used_runtime(manifest)
    job = {
        "mode": "check",
        "runtime": name,
        "site": runtime_store.choose(session.tree, name, version),
        "model": os.path.join(folder, manifest["model"]),
        "setting": manifest["setting"],
        "inputs": os.path.join(folder, manifest["probe"]["inputs"]),
        "expected": os.path.join(folder, manifest["probe"]["outputs"]),
        "rtol": manifest["probe"]["rtol"],
        "atol": manifest["probe"]["atol"],
        "memory_bytes": None,
    }
    return judge(block.run(session, job, timeout_s=timeout_s), app.name, digest)


def judge(result: dict[str, Any], app: str, digest: str) -> dict[str, Any]:
    """Turn the result of a check block into health, or into the error that stops a switch."""
    ms = result["wall_ns"] / 1e6
    if result["status"] != "ok":
        failure = result["failure"]
        code = "runtime-missing" if failure["kind"] == "runtime-missing" else "health-check-failed"
        raise AgentError(
            code,
            f"release {digest[:12]} of {app} does not run: {failure['detail']}",
            app=app,
            digest=digest,
            failure=failure,
        )
    health = {"ok": result["ok"], "max_abs_error": result["max_abs_error"], "samples": result["samples"], "ms": ms}
    if not result["ok"]:
        message = f"release {digest[:12]} of {app} does not answer as it was measured: {result['detail']}"
        raise AgentError("health-check-failed", message, app=app, digest=digest, health=health)
    return health


def status(tree: Tree, lock: dict[str, Any] | None) -> dict[str, Any]:
    """Return what is installed, and what it costs."""
    from edgeopt_agent.errors import free_bytes
    from edgeopt_agent.tree import tree_bytes

    return {
        "apps": [_describe(app) for app in all_apps(tree)],
        "runtimes": runtime_store.describe(tree),
        "blobs_bytes": tree_bytes(tree.blobs),
        "disk_free_bytes": free_bytes(tree.root),
        "lock": lock,
    }


def _describe(app: App) -> dict[str, Any]:
    current = app.current()
    times = {entry["digest"]: entry.get("activated_at") for entry in app.history()}
    releases, setting, is_healthy = [], None, False
    for digest in names(app.releases):
        folder = app.release(digest)
        manifest = release.read(folder)
        if digest == current:
            setting = manifest["setting"] if manifest else None
            is_healthy = manifest is not None and release.broken_file(folder, manifest) is None
        size = sum(item["bytes"] for item in manifest["files"]) if manifest else None
        variant = manifest.get("variant") if manifest else None
        releases.append({"digest": digest, "variant": variant, "bytes": size, "activated_at": times.get(digest)})
    return {
        "app": app.name,
        "current": current,
        "previous": app.previous(),
        "healthy_files": is_healthy,
        "releases": releases,
        "setting": setting,
    }


def collect_releases(tree: Tree) -> tuple[int, frozenset[tuple[str, str]], frozenset[str]]:
    """Remove releases that are neither current nor previous; returns (bytes freed, runtimes that the others use, digests of their files)."""
    freed = 0
    used = set()
    files: set[str] = set()
    for app in all_apps(tree):
        kept = {app.current(), app.previous(), app.linked_previous()}
        for digest in names(app.releases):
            manifest = release.read(app.release(digest))
            if digest not in kept:
                freed += _remove(app.release(digest))
            elif manifest is not None:
                used.add(release.used_runtime(manifest))
                files.update(item["digest"] for item in manifest["files"])
    return freed, frozenset(used), frozenset(files)


def _remove(folder: str) -> int:
    # Without its manifest it is no release any more, so a cut in the middle of this is healed.
    freed = remove_file(os.path.join(folder, release.MANIFEST))
    return freed + remove_tree(folder)
