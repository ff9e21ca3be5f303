"""Runtimes that edgeopt brought: wheels unpacked into a folder that a process puts on its path. Nothing of the device's own Python is changed."""

from __future__ import annotations

import json
import os
import re
import sys

from edgeopt_agent import digests
from edgeopt_agent.clock import utc_now
from edgeopt_agent.content import file_bytes
from edgeopt_agent.errors import AgentError
from edgeopt_agent.tree import build_folder, link_or_copy, names, remove_file, remove_tree, tree_bytes, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.tree import Tree

_KEY = re.compile(r"[0-9a-f]{16}", re.ASCII)
_MAX_RECORD_BYTES = 1 << 20
_FILES = "files.json"
_MAX_FILES_BYTES = 16 << 20


def key_of(wheels: list[str]) -> str:
    """Return the name of a runtime: 16 hex digits of the sha256 over its sorted, distinct wheel digests, joined by newlines."""
    return digests.of_bytes("\n".join(sorted(set(wheels))).encode("ascii"))[:16]


def python_tag() -> str:
    """Return which interpreter extension modules are built for: `cp311`, `cp313t`."""
    threaded = "t" if "t" in getattr(sys, "abiflags", "") else ""
    return f"{'cp' if sys.implementation.name == 'cpython' else sys.implementation.name}{sys.version_info[0]}{sys.version_info[1]}{threaded}"


def add(tree: Tree, name: str, version: str, wheels: list[dict[str, str]], tick: Callable[[], None]) -> tuple[str, str]:
    """Unpack wheels into a runtime; returns (key, folder for sys.path). Idempotent; the wheels' blobs are removed.

    A wheel that is no blob any more, but part of another runtime (numpy is, nearly always), is linked from there: it takes no room again.

    Raises:
        AgentError: `missing-blob`, `bad-request` (not a safe wheel), `disk-full`.
    """
    key = key_of([wheel["digest"] for wheel in wheels])
    folder = os.path.join(tree.runtimes, key)
    if read(folder) is None:
        _unpack_all(tree, folder, {"schema": 1, "name": name, "version": version, "key": key, "wheels": wheels}, tick)
    for wheel in wheels:
        remove_file(tree.blob(wheel["digest"]))
    return key, site_of(folder)


def _unpack_all(tree: Tree, folder: str, record: dict[str, Any], tick: Callable[[], None]) -> None:
    from edgeopt_agent.wheel import unpack

    here = _unpacked(tree)
    for wheel in record["wheels"]:
        if file_bytes(tree.blob(wheel["digest"])) is None and wheel["digest"] not in here:
            raise AgentError("missing-blob", f"{wheel['file']} is not on the device", digest=wheel["digest"])

    def build(fresh: str) -> None:
        site = site_of(fresh)
        os.mkdir(site, 0o700)
        files: dict[str, list[str]] = {}
        for wheel in record["wheels"]:
            blob = tree.blob(wheel["digest"])
            if file_bytes(blob) is not None:
                files[wheel["digest"]] = unpack(blob, wheel["file"], site, tick)
            else:
                other, paths = here[wheel["digest"]]
                files[wheel["digest"]] = _link_all(other, paths, site, tick)
        write_file(os.path.join(fresh, _FILES), digests.canonical(files))
        size = tree_bytes(site)
        text = {**record, "bytes": size, "python": python_tag(), "unpacked_at": utc_now()}
        write_file(os.path.join(fresh, "runtime.json"), digests.canonical(text))
        # Thousands of small files: one sync of everything is many times faster on an SD card than an fsync of each.
        os.sync()

    build_folder(folder, build, durable=False)
    os.sync()


def _unpacked(tree: Tree) -> dict[str, tuple[str, list[str]]]:
    """Where each wheel is that is part of a runtime: {digest: (folder of packages, files in it)}. Of this tree alone: another root may go."""
    found: dict[str, tuple[str, list[str]]] = {}
    for folder, _ in all_runtimes(tree):
        if os.path.dirname(folder) == tree.runtimes:
            found.update({digest: (site_of(folder), paths) for digest, paths in _files_of(folder).items()})
    return found


def _files_of(folder: str) -> dict[str, list[str]]:
    """Which files each wheel of a runtime brought; {} of one that was unpacked by an agent that did not note it."""
    try:
        with open(os.path.join(folder, _FILES), "rb") as stream:
            noted = json.loads(stream.read(_MAX_FILES_BYTES))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _link_all(source: str, paths: list[str], site: str, tick: Callable[[], None]) -> list[str]:
    for path in paths:
        target = os.path.join(site, path)
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        link_or_copy(os.path.join(source, path), target)
        tick()
    return paths


def site_of(folder: str) -> str:
    """Return the folder for sys.path of a runtime."""
    return os.path.join(folder, "site")


def read(folder: str) -> dict[str, Any] | None:
    """Return the record of a runtime, or None when there is no whole one."""
    try:
        with open(os.path.join(folder, "runtime.json"), "rb") as stream:
            record = json.loads(stream.read(_MAX_RECORD_BYTES))
    except (OSError, ValueError):
        return None
    if (
        not isinstance(record, dict)
        or record.get("key") != os.path.basename(folder)
        or not os.path.isdir(site_of(folder))
    ):
        return None
    return record if isinstance(record.get("name"), str) and isinstance(record.get("version"), str) else None


def all_runtimes(tree: Tree) -> list[tuple[str, dict[str, Any]]]:
    """Return (folder, record) of every runtime, also of those in another root, newest first."""
    found = []
    for base in tree.runtime_folders():
        for key in names(base):
            record = read(os.path.join(base, key)) if _KEY.fullmatch(key) else None
            if record is not None:
                found.append((os.path.join(base, key), record))
    return sorted(found, key=lambda item: str(item[1].get("unpacked_at", "")), reverse=True)


def wheel_digests(tree: Tree) -> frozenset[str]:
    """Return the digests of all wheels that live on as runtimes, and can be linked from there."""
    return frozenset(_unpacked(tree))


def fits(record: dict[str, Any]) -> bool:
    """Say whether this interpreter can load the runtime. A record without a tag was not written by `add` and is believed."""
    return bool(record.get("python", python_tag()) == python_tag())


def choose(tree: Tree, name: str, version: str) -> str | None:
    """Return the site folder of exactly this version, or None when it is the interpreter's own.

    Raises:
        AgentError: `runtime-missing`, with what is there instead.
    """
    from edgeopt_agent.runtimes import open_runtime, python_folders

    others = []
    for folder, record in all_runtimes(tree):
        if record["name"] == name and record["version"] == version and fits(record):
            return site_of(folder)
        if record["name"] == name:
            others.append(f"{record['version']} for {record.get('python', 'this Python')}")
    own = open_runtime(name).find(python_folders())
    if own == version:
        return None
    if own is not None:
        others.append(f"{own} of this Python")
    there = ", ".join(others) or "none"
    raise AgentError(
        "runtime-missing",
        f"{name} {version} for {python_tag()} is not on this device; there: {there}",
        name=name,
        version=version,
    )


def collect(tree: Tree, used: frozenset[tuple[str, str]]) -> int:
    """Remove runtimes that no kept release uses, except the newest of each name; returns the bytes freed.

    Args:
        tree: the device tree; another root's runtimes are never touched.
        used: (name, version) of the runtimes of kept releases.
    """
    freed = 0
    newest: set[str] = set()
    for folder, record in all_runtimes(tree):
        if os.path.dirname(folder) != tree.runtimes:
            continue
        is_newest = record["name"] not in newest and fits(record)
        if is_newest:
            newest.add(record["name"])
        elif (record["name"], record["version"]) not in used:
            remove_file(os.path.join(folder, "runtime.json"))
            freed += remove_tree(folder)
    return freed


def describe(tree: Tree) -> list[dict[str, Any]]:
    """Return name, version, key and size of every runtime, for `status`."""
    return [
        {"name": record["name"], "version": record["version"], "key": record["key"], "bytes": record.get("bytes")}
        for _, record in all_runtimes(tree)
    ]
