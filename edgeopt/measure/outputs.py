"""Fetch the answers that a device itself gives, so that faithfulness is proven where it matters."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from edgeopt.domain.run import Candidate, Failure
from edgeopt.errors import LinkError
from edgeopt.measure.rounds import Bench, failure_from_reply

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""Outputs fetched for one candidate. More samples are left out, fewer outputs never."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """Where the answers of one candidate lie on the host (`.npz`, arrays `s<i>.<j>`), or why there are none; and on which providers its nodes ran. `unchecked`: it ran, and what ran it does not tell its answers."""

    candidate: str
    path: Path | None
    digest: str | None
    samples: int
    failure: Failure | None
    runtime_version: str | None
    placement: dict[str, dict[str, int]] | None = None
    placement_reason: str | None = None
    unchecked: str | None = None


def fetch_outputs(bench: Bench, candidate: Candidate, folder: Path) -> Fetched:
    """Run the samples through a candidate on the device and bring the answers here.

    Raises:
        LinkError: they were damaged on the way, or the way broke.
    """
    job = bench.job(candidate, "outputs") | {
        "limit_samples": bench.plan.output_samples,
        "limit_bytes": MAX_OUTPUT_BYTES,
    }
    reply = bench.session.call("block", job, timeout_s=bench.patience_s(candidate) + 60.0)
    failure = failure_from_reply(reply)
    if failure is not None:
        return Fetched(candidate=candidate.id, path=None, digest=None, samples=0, failure=failure, runtime_version=None)
    if reply.get("unchecked") is not None:
        why = str(reply["unchecked"])
        return Fetched(
            candidate=candidate.id,
            path=None,
            digest=None,
            samples=0,
            failure=None,
            runtime_version=reply.get("runtime_version"),
            unchecked=why,
        )
    file = reply["file"]
    path = folder / f"{file['sha256']}.npz"
    bench.session.link.get(file["path"], path, max_bytes=MAX_OUTPUT_BYTES + (1 << 20))
    if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
        msg = f"{bench.session.device.name}: the outputs of {candidate.id} arrived damaged"
        raise LinkError(msg, hint="Try again.", code="damaged-in-transit")
    return Fetched(
        candidate=candidate.id,
        path=path,
        digest=file["sha256"],
        samples=int(reply["samples"]),
        failure=None,
        runtime_version=reply.get("runtime_version"),
        placement=reply.get("placement"),
        placement_reason=reply.get("placement_reason"),
    )
