"""Run the blocks: every surviving candidate once a round, in random order, each in a fresh process on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edgeopt.domain.observer import Observer
from edgeopt.domain.run import Block, Candidate, Failure, MeasurePlan
from edgeopt.measure.session import Session

Order = Callable[[Sequence[str], int, int], Sequence[str]]
"""(candidate ids, seed, round) -> the order of that round."""

Drop = Callable[[Sequence[Block], Sequence[Candidate], float], dict[str, str]]
"""(blocks so far, candidates, ratio) -> candidates not worth more time, with the sentence that says why."""


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A variant on the device, ready to be loaded: the absolute path of its graph."""

    variant: str
    model: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """All blocks in the order in which they ran, and who was not worth more time."""

    blocks: tuple[Block, ...]
    dropped: dict[str, str]


class Bench:
    """What stays the same over all blocks of a run."""

    def __init__(
        self, session: Session, plan: MeasurePlan, *, models: dict[str, str], inputs: str, site: str | None
    ) -> None:
        """Prepare.

        Args:
            session: locked.
            plan: how long and how often.
            models: variant name -> absolute path of its graph on the device.
            inputs: absolute path of the samples' `.npz` on the device.
            site: the runtime's folder on the device, None when its Python has it.
        """
        self.session = session
        self.plan = plan
        self.models = models
        self.inputs = inputs
        self.site = site

    def job(self, candidate: Candidate, mode: str) -> dict[str, Any]:
        """What every job of this run says."""
        return {
            "mode": mode,
            "runtime": candidate.setting.runtime,
            "site": self.site,
            "model": self.models[candidate.variant],
            "setting": msgspec.to_builtins(candidate.setting),
            "inputs": self.inputs,
            "timeout_s": self.plan.block_timeout_s,
            "memory_bytes": None,
        }

    def run_block(self, candidate: Candidate, number: int, position: int) -> Block:
        """Measure one candidate once. A failing candidate is a block with a failure, not an error."""
        job = self.job(candidate, "time") | {
            "min_s": self.plan.block_min_s,
            "min_inferences": self.plan.block_min_inferences,
            "max_s": self.plan.block_max_s,
            "warmup_min_s": self.plan.warmup_min_s,
            "warmup_min_inferences": self.plan.warmup_min_inferences,
        }
        reply = self.session.call("block", job, timeout_s=self.plan.block_timeout_s + 60.0)
        return block_from_reply(reply, candidate=candidate.id, number=number, position=position)


def block_from_reply(reply: dict[str, Any], *, candidate: str, number: int, position: int) -> Block:
    """Turn the agent's answer into a record; what it did not say stays None."""
    known = {
        name: reply[name]
        for name in (
            "load_ns",
            "first_ns",
            "warmup_ns",
            "latencies_ns",
            "steady",
            "steady_reason",
            "peak_rss_bytes",
            "runtime_rss_bytes",
            "anon_bytes",
            "file_bytes",
            "shared_bytes",
            "timed",
            "provider_used",
            "runtime_version",
            "conditions_before",
            "conditions_after",
            "flags",
            "wall_ns",
        )
        if reply.get(name) is not None
    }
    failure = failure_from_reply(reply)
    return msgspec.convert(
        known | {"candidate": candidate, "round": number, "position": position, "failure": failure},
        Block,
        from_attributes=True,
    )


def failure_from_reply(reply: dict[str, Any]) -> Failure | None:
    """Return the failure that the reply tells of, None when it is `ok`."""
    if reply.get("status") == "ok":
        return None
    return msgspec.convert(reply["failure"], Failure)


def measure_candidates(
    bench: Bench,
    candidates: Sequence[Candidate],
    *,
    order: Order,
    drop: Drop,
    observer: Observer,
) -> Measured:
    """Run all rounds.

    A candidate whose block fails is tried once more in the next round, then left out: what fails twice is broken, what fails once may be bad luck.

    Raises:
        AgentLost, LinkLost, LinkTimeout: the conversation ended; no partial numbers are returned.
    """
    plan = bench.plan
    by_id = {candidate.id: candidate for candidate in candidates}
    alive = dict(by_id)
    blocks: list[Block] = []
    dropped: dict[str, str] = {}
    observer.stage("measure", f"measure on {bench.session.device.name}", float(plan.rounds * len(by_id)))
    for number in range(plan.rounds):
        for position, name in enumerate(order(sorted(alive), plan.seed, number)):
            observer.advance(
                "measure", float(number * len(by_id) + position), f"round {number + 1} of {plan.rounds}: {name}"
            )
            blocks.append(bench.run_block(by_id[name], number, position))
        for name in [name for name in alive if _failures(blocks, name) >= 2]:
            del alive[name]
        newly = drop(blocks, [by_id[name] for name in alive], plan.drop_ratio)
        for name, why in newly.items():
            dropped[name] = why
            alive.pop(name, None)
        if not alive:
            break
    observer.finish("measure")
    return Measured(blocks=tuple(blocks), dropped=dropped)


def _failures(blocks: Sequence[Block], name: str) -> int:
    return sum(1 for block in blocks if block.candidate == name and block.failure is not None)
