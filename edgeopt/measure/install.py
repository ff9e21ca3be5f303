"""Make a bundle of what was picked and let the agent install it: content first, health check, then one atomic switch."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from edgeopt.domain.bundle import Manifest, Release
from edgeopt.measure.session import Session


def canonical_json(value: Any) -> bytes:
    """Return the one way to write a JSON value, so that its hash names it (docs/wire-protocol.md)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def manifest_digest(manifest: Manifest) -> tuple[dict[str, Any], str]:
    """Return the manifest as plain data and the digest that names its release."""
    plain = msgspec.to_builtins(manifest)
    return plain, hashlib.sha256(canonical_json(plain)).hexdigest()


def install_bundle(session: Session, manifest: Manifest, *, timeout_s: float) -> Release:
    """Assemble the release from blobs that are on the device, check its health, switch to it.

    Raises:
        HealthCheckFailed: it does not answer as measured; nothing was switched.
        DiskFull, ReadOnly, AgentError, LinkError.
    """
    plain, digest = manifest_digest(manifest)
    session.call("install", {"app": manifest.app, "manifest": plain, "digest": digest}, timeout_s=timeout_s)
    reply = session.call(
        "activate", {"app": manifest.app, "digest": digest, "timeout_s": timeout_s}, timeout_s=timeout_s + 30.0
    )
    return Release(app=manifest.app, digest=reply["current"], previous=reply.get("previous"))


def roll_back(session: Session, app: str, *, timeout_s: float) -> Release:
    """Switch back to the release before the current one, after its health check.

    Raises:
        NotInstalled: no such app, or nothing before the current release.
        HealthCheckFailed: the older release does not answer any more; nothing was switched.
    """
    reply = session.call("rollback", {"app": app, "timeout_s": timeout_s}, timeout_s=timeout_s + 30.0)
    return Release(app=app, digest=reply["current"], previous=reply.get("previous"))
