"""Ask the agent to run a candidate back to back until its temperature is flat."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeopt.domain.run import Candidate
from edgeopt.domain.sustained import Sustained
from edgeopt.measure.rounds import Bench, failure_from_reply

FIELDS = ("ended", "burst_ns", "sustained_ns", "windows", "flags")


def measure_sustained(bench: Bench, candidate: Candidate, max_s: float) -> Sustained:
    """Measure one candidate. What fails is a record with a failure, not an error.

    Args:
        bench: the device.
        candidate: who.
        max_s: the cap in seconds.

    Raises:
        AgentLost, LinkLost, LinkTimeout: the conversation ended.
    """
    timeout_s = max_s + bench.plan.block_timeout_s
    job = bench.job(candidate, "sustained") | {"max_s": max_s, "timeout_s": timeout_s}
    reply = bench.session.call("block", job, timeout_s=timeout_s + 60.0)
    known: dict[str, Any] = {name: reply[name] for name in FIELDS if reply.get(name) is not None}
    return msgspec.convert(
        known | {"candidate": candidate.id, "failure": failure_from_reply(reply)}, Sustained, from_attributes=True
    )
