"""A release: a folder named by the digest of its manifest, which names every file by its own. Whether one is whole can always be told from the folder alone."""

from __future__ import annotations

import json
import os

from edgeopt_agent import digests
from edgeopt_agent.arguments import files_problem, is_digest
from edgeopt_agent.content import file_bytes
from edgeopt_agent.errors import AgentError
from edgeopt_agent.setting import setting_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Manifest = dict[str, Any]

MANIFEST = "manifest.json"
SCHEMA = 1
_MAX_MANIFEST_BYTES = 1 << 20


def check_manifest(manifest: Manifest, app: str, digest: str) -> bytes:
    """Return the canonical text of a manifest after checking that it is one.

    Raises:
        AgentError: `bad-request` for one that cannot be installed, `digest-mismatch` when it does not hash to `digest`.
    """
    try:
        text = digests.canonical(manifest)
    except (ValueError, RecursionError) as error:
        raise AgentError("bad-request", f"manifest: {error}") from error
    found = digests.of_bytes(text)
    if found != digest:
        raise AgentError(
            "digest-mismatch", f"the manifest hashes to {found[:12]}, not to {digest[:12]}", digest=digest, found=found
        )
    problem = _problem(manifest, app)
    if problem is not None:
        raise AgentError("bad-request", f"manifest: {problem}")
    return text


def _problem(manifest: Manifest, app: str) -> str | None:
    if manifest.get("schema") != SCHEMA:
        return f"schema {manifest.get('schema')!r} is not {SCHEMA}; a newer edgeopt made it"
    if manifest.get("app") != app:
        return f"it is of app {manifest.get('app')!r}, not {app!r}"
    problem = files_problem(manifest.get("files"))
    if problem is not None:
        return f"files: {problem}"
    return _reference_problem(manifest) or setting_problem(manifest.get("setting")) or _signature_problem(manifest)


def _reference_problem(manifest: Manifest) -> str | None:
    paths = {item["path"] for item in manifest["files"]}
    if MANIFEST in paths:
        return f"files: {MANIFEST} is the manifest's own name"
    probe = manifest.get("probe")
    if not isinstance(probe, dict) or not all(_is_tolerance(probe.get(field)) for field in ("rtol", "atol")):
        return "probe: no tolerances"
    wanted = (
        ("model", manifest.get("model")),
        ("probe.inputs", probe.get("inputs")),
        ("probe.outputs", probe.get("outputs")),
    )
    missing = [field for field, path in wanted if not isinstance(path, str) or path not in paths]
    return f"{missing[0]} is not among its files" if missing else None


def _is_tolerance(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _signature_problem(manifest: Manifest) -> str | None:
    if not isinstance(manifest.get("runtime_version"), str):
        return "no runtime_version"
    for field in ("inputs", "outputs"):
        specs = manifest.get(field)
        if not isinstance(specs, list) or not all(
            isinstance(spec, dict) and isinstance(spec.get("name"), str) for spec in specs
        ):
            return f"{field} is not a list of tensors"
    return None


def read(folder: str) -> Manifest | None:
    """Return the manifest of a release folder if it hashes to the folder's name, else None."""
    digest = os.path.basename(folder)
    try:
        with open(os.open(os.path.join(folder, MANIFEST), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
            text = stream.read(_MAX_MANIFEST_BYTES + 1)
    except OSError:
        return None
    if not is_digest(digest) or digests.of_bytes(text) != digest:
        return None
    manifest = json.loads(text)
    return manifest if isinstance(manifest, dict) and files_problem(manifest.get("files")) is None else None


def broken_file(folder: str, manifest: Manifest, tick: Callable[[int], None] | None = None) -> str | None:
    """Hash every file of a release; return the path of the first that is not what the manifest says, or None."""
    for item in manifest["files"]:
        path = os.path.join(folder, item["path"])
        if file_bytes(path) != item["bytes"] or digests.of_file(path, tick)[0] != item["digest"]:
            return str(item["path"])
    return None


def is_whole(folder: str) -> bool:
    """Say whether a release is there with every file in its size. Hashing all of it is for the moments before a switch."""
    manifest = read(folder)
    return manifest is not None and all(
        file_bytes(os.path.join(folder, item["path"])) == item["bytes"] for item in manifest["files"]
    )


def used_runtime(manifest: Manifest) -> tuple[str, str]:
    """Return name and version of the runtime that a release was measured with."""
    return manifest["setting"]["runtime"], manifest["runtime_version"]
