"""Run the blocks: every surviving candidate once a round, in random order, each in a fresh process on the device."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.domain.observer import Observer
from edgeopt.domain.race import Decision
from edgeopt.domain.run import BUILDS_S, Block, Candidate, Failure, MeasurePlan
from edgeopt.measure.session import Session

Order = Callable[[Sequence[str], int, int], Sequence[str]]
"""(candidate ids, seed, round) -> the order of that round."""

Judge = Callable[[Sequence[Block], Sequence[Candidate]], Decision]
"""(blocks so far, candidates still measured) -> who goes on."""


Words = Callable[[Sequence[Block], str, str], str]
"""(blocks so far, which round, candidate) -> a line that says what is being tried."""


def _plainly(_blocks: Sequence[Block], round_: str, name: str) -> str:
    return f"{round_}: {name}"


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A variant on the device, ready to be loaded: the absolute path of its graph."""

    variant: str
    model: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """All blocks in the order in which they ran, who was not worth more time, and why the rounds ended."""

    blocks: tuple[Block, ...]
    dropped: dict[str, str]
    stopped: str | None = None


class Bench:
    """What stays the same over all blocks of a run."""

    def __init__(
        self,
        session: Session,
        plan: MeasurePlan,
        *,
        models: dict[str, str],
        inputs: str,
        sites: Mapping[str, str | None],
    ) -> None:
        """Prepare.

        Args:
            session: locked.
            plan: how long and how often.
            models: variant name -> absolute path of its graph on the device.
            inputs: absolute path of the samples' `.npz` on the device.
            sites: runtime -> its folder on the device, None when its Python has it.
        """
        self.session = session
        self.plan = plan
        self.models = models
        self.inputs = inputs
        self.sites = sites

    def job(self, candidate: Candidate, mode: str) -> dict[str, Any]:
        """What every job of this run says."""
        return {
            "mode": mode,
            "runtime": candidate.setting.runtime,
            "site": self.sites[candidate.setting.runtime],
            "model": self.models[candidate.variant],
            "setting": msgspec.to_builtins(candidate.setting),
            "inputs": self.inputs,
            "timeout_s": self.patience_s(candidate),
            "memory_bytes": None,
        }

    def patience_s(self, candidate: Candidate) -> float:
        """After how many seconds a block of a candidate counts as hanging."""
        return self.plan.block_timeout_s + BUILDS_S.get(candidate.setting.runtime, 0.0)

    def scenario(self) -> dict[str, Any]:
        """How inferences arrive, in the wire's words."""
        words: dict[str, Any] = {"name": self.plan.scenario, "streams": self.plan.streams}
        return words if self.plan.rate_hz is None else words | {"rate_hz": self.plan.rate_hz}

    def run_block(self, candidate: Candidate, number: int, position: int) -> Block:
        """Measure one candidate once. A failing candidate is a block with a failure, not an error."""
        job = self.job(candidate, "time") | {
            "min_s": self.plan.block_min_s,
            "min_inferences": self.plan.block_min_inferences,
            "max_s": self.plan.block_max_s,
            "warmup_min_s": self.plan.warmup_min_s,
            "warmup_min_inferences": self.plan.warmup_min_inferences,
            "scenario": self.scenario(),
            "cool_down": {"max_s": self.plan.cool_down_max_s},
        }
        waiting_s = self.patience_s(candidate) + self.plan.cool_down_max_s + 60.0
        reply = self.session.call("block", job, timeout_s=waiting_s)
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
            "latencies_are",
            "feeds",
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
            "cool_down_s",
            "inferences",
            "timed_ns",
            "late_starts",
            "stream_ns",
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
    judge: Judge,
    observer: Observer,
    words: Words = _plainly,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Run rounds until the judge or the budget ends them.

    A candidate whose block fails is tried once more in the next round, then left out: what fails twice is broken, what fails once may be bad luck.

    Args:
        bench: the device and the plan.
        candidates: who is measured.
        order: of a round.
        judge: says after each round who goes on.
        observer: told of every block.
        words: what it is told.
        clock: seconds, monotonic; the budget is counted by it.

    Raises:
        AgentLost, LinkLost, LinkTimeout: the conversation ended; no partial numbers are returned.
    """
    plan = bench.plan
    alive = {candidate.id: candidate for candidate in candidates}
    blocks: list[Block] = []
    dropped: dict[str, str] = {}
    budget = _Budget(plan.budget_s, clock)
    decision = Decision(stopped=None if alive else "there is no candidate to measure")
    observer.stage("measure", f"measure on {bench.session.device.name}", float(plan.most_rounds * len(alive)))
    number = 0
    while decision.stopped is None:
        racing = sorted(alive.keys() - set(decision.resting))
        for position, name in enumerate(order(racing, plan.seed, number)):
            if not budget.has_room(name):
                break
            done = float(number * len(candidates) + position)
            observer.advance("measure", done, words(blocks, f"round {number + 1} of at most {plan.most_rounds}", name))
            with budget.spending(name):
                blocks.append(bench.run_block(alive[name], number, position))
        for name in [name for name in alive if _failures(blocks, name) >= 2]:
            del alive[name]
        decision = budget.judged(judge(blocks, list(alive.values())))
        dropped |= decision.dropped
        for name in decision.dropped:
            alive.pop(name, None)
        number += 1
    observer.finish("measure", decision.stopped or "")
    return Measured(blocks=tuple(blocks), dropped=dropped, stopped=decision.stopped)


class _Budget:
    """Seconds of the device that may be used up; a block that would not fit is not begun."""

    def __init__(self, limit_s: float | None, clock: Callable[[], float]) -> None:
        self._limit_s = math.inf if limit_s is None else limit_s
        self._clock = clock
        self._begin = clock()
        self._longest: dict[str, float] = {}
        self._is_used_up = False

    def has_room(self, name: str) -> bool:
        """Tell whether another block of this candidate fits, by the longest that it has had; by the longest of all before its first."""
        expected = self._longest.get(name, max(self._longest.values(), default=0.0))
        self._is_used_up = self._is_used_up or self._clock() - self._begin + expected > self._limit_s
        return not self._is_used_up

    @contextlib.contextmanager
    def spending(self, name: str) -> Iterator[None]:
        """Note how long a block takes."""
        begin = self._clock()
        yield
        self._longest[name] = max(self._longest.get(name, 0.0), self._clock() - begin)

    def judged(self, decision: Decision) -> Decision:
        """Return the decision, ended when the budget is."""
        if not self._is_used_up or decision.stopped is not None:
            return decision
        return msgspec.structs.replace(decision, stopped=f"the budget of {self._limit_s:g} s was used up")


def _failures(blocks: Sequence[Block], name: str) -> int:
    return sum(1 for block in blocks if block.candidate == name and block.failure is not None)
