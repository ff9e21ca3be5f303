"""Content by digest: what is there, what arrived, and the folders of variants that are measured."""

from __future__ import annotations

import os
import stat
import time

from edgeopt_agent import digests
from edgeopt_agent.errors import AgentError
from edgeopt_agent.tree import (
    build_folder,
    fsync_file,
    fsync_folder,
    link_or_copy,
    make_folder,
    names,
    remove_file,
    remove_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.tree import Tree

    Files = list[dict[str, Any]]

_PART_AGE_S = 7 * 24 * 3600
_AGENT_AGE_S = 24 * 3600
"""Another session may still import from an agent that was used today."""


def have(tree: Tree, wanted: list[str], unpacked: frozenset[str], tick: Callable[[int], None]) -> dict[str, Any]:
    """Say what of `wanted` must be sent, and how much of it came already.

    What is there is hashed again: storage that damaged it would have something else measured and installed than was built.

    Args:
        tree: the device tree.
        wanted: digests.
        unpacked: digests of wheels that live on as runtimes; they count as present.
        tick: called with the bytes of a blob that were hashed so far; what it raises ends the work.
    """
    make_folder(tree.incoming)
    missing = [
        digest for digest in dict.fromkeys(wanted) if digest not in unpacked and not _is_whole(tree, digest, tick)
    ]
    partial = {}
    for digest in missing:
        size = file_bytes(tree.part(digest))
        if size is not None:
            partial[digest] = size
    return {"missing": missing, "partial": partial}


def _is_whole(tree: Tree, digest: str, tick: Callable[[int], None]) -> bool:
    """Whether a blob is there and is what its name says; a damaged one is removed."""
    blob = tree.blob(digest)
    if file_bytes(blob) is None:
        return False
    if digests.of_file(blob, tick)[0] == digest:
        return True
    remove_file(blob)
    return False


def commit(tree: Tree, digest: str, expected_bytes: int, tick: Callable[[int], None]) -> None:
    """Verify an upload and make it a blob, durably. Committing what is a blob already is done.

    Raises:
        AgentError: `digest-mismatch` (the upload is removed), `missing-blob` (nothing was uploaded).
    """
    part, blob = tree.part(digest), tree.blob(digest)
    size = file_bytes(part)
    if size is None:
        if file_bytes(blob) == expected_bytes:
            return
        raise AgentError("missing-blob", f"{digest[:12]} was not uploaded", digest=digest)
    if size != expected_bytes:
        remove_file(part)
        raise AgentError(
            "digest-mismatch", f"{digest[:12]} has {size} bytes instead of {expected_bytes}", digest=digest
        )
    found, _ = digests.of_file(part, tick)
    if found != digest:
        remove_file(part)
        raise AgentError("digest-mismatch", f"{digest[:12]} arrived as {found[:12]}", digest=digest, found=found)
    make_folder(tree.blobs)
    fsync_file(part)
    os.replace(part, blob)
    fsync_folder(tree.blobs)


def stage(tree: Tree, digest: str, files: Files) -> str:
    """Put the files of a variant under their own names; returns the folder.

    Raises:
        AgentError: `missing-blob`.
    """
    folder = os.path.join(tree.staged, digest)
    if not _is_staged(tree, folder, files):
        build_folder(folder, lambda fresh: place(tree, files, fresh), durable=False)
    return folder


def place(tree: Tree, files: Files, folder: str) -> None:
    """Link blobs into a folder under the paths of `files`.

    Raises:
        AgentError: `missing-blob` when one is not there or not of its size.
    """
    for item in files:
        blob = tree.blob(item["digest"])
        if file_bytes(blob) != item["bytes"]:
            raise AgentError(
                "missing-blob", f"{item['path']} ({item['digest'][:12]}) is not on the device", digest=item["digest"]
            )
        target = os.path.join(folder, item["path"])
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        link_or_copy(blob, target)


def file_bytes(path: str) -> int | None:
    """Return the size of a regular file; None when there is none of that name (a link is none)."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _is_staged(tree: Tree, folder: str, files: Files) -> bool:
    return all(_is_link_to(tree.blob(item["digest"]), os.path.join(folder, item["path"])) for item in files)


def _is_link_to(blob: str, staged: str) -> bool:
    try:
        return os.path.samestat(os.lstat(blob), os.lstat(staged))
    except OSError:
        return False


def collect_blobs(tree: Tree, keep: frozenset[str]) -> int:
    """Remove blobs that are not kept, staged folders and old uploads; returns the bytes freed."""
    freed = 0
    for digest in names(tree.staged):
        freed += remove_tree(os.path.join(tree.staged, digest))
    for digest in names(tree.blobs):
        if digest not in keep:
            freed += remove_file(tree.blob(digest))
    for name in names(tree.incoming):
        path = os.path.join(tree.incoming, name)
        if _age_s(path) > _PART_AGE_S:
            freed += remove_file(path)
    return freed


def collect_engines(tree: Tree, models: frozenset[str]) -> int:
    """Remove what was built of other models than these; returns the bytes freed. A name begins with its model's digest."""
    freed = 0
    for name in names(tree.engines):
        if name.partition(".")[0] not in models:
            freed += remove_file(os.path.join(tree.engines, name))
    return freed


def collect_agents(tree: Tree, own: str | None) -> int:
    """Remove agents that were not used since yesterday, but never this one nor the one that applications import."""
    link = os.path.join(tree.agent, "edgeopt_agent.pyz")
    used = {os.path.realpath(link), os.path.realpath(own) if own else None}
    freed = 0
    for name in names(tree.agent):
        path = os.path.join(tree.agent, name)
        if not os.path.islink(path) and os.path.realpath(path) not in used and _age_s(path) > _AGENT_AGE_S:
            freed += remove_file(path)
    return freed


def _age_s(path: str) -> float:
    from edgeopt_agent.clock import unix_s

    try:
        return unix_s() - os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def at_most_every(period_s: float, send: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that passes its argument on to `send`, but not more often than this."""
    last = [time.monotonic()]

    def limited(value: int) -> None:
        now = time.monotonic()
        if now - last[0] >= period_s:
            last[0] = now
            send(value)

    return limited
