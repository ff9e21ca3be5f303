"""What speaks against a candidate before any limit: it failed, it was dropped, it was not measured well enough."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeopt.domain.pick import Summary
from edgeopt.domain.run import Failure, Run
from edgeopt.select.summarise import output_check


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """What speaks against a candidate. `certain` is false for a doubt: more or better measurement may lift it."""

    sentence: str
    certain: bool


def failure_of(run: Run, candidate: str) -> Objection | None:
    """A crash, a hang or NaN is nothing to install, be it once in many: a fresh process failed. `lost` is the link's fault."""
    check = output_check(run, candidate)
    if check is not None and check.failure is not None:
        return _failed("when asked for answers", check.failure)
    blocks = [block for block in run.blocks if block.candidate == candidate]
    failures = [block.failure for block in blocks if block.failure is not None]
    grave = [failure for failure in failures if failure.kind != "lost"]
    if grave:
        return _failed(f"in {len(failures)} of {len(blocks)} blocks", grave[-1])
    if check is not None and check.fidelity is not None and not check.fidelity.finite:
        return Objection(
            sentence="answers with NaN or infinity on the device, where the original does not", certain=True
        )
    return None


def _failed(where: str, failure: Failure) -> Objection:
    phase = f" at {failure.phase}" if failure.phase else ""
    sentence = f"failed {where} ({failure.kind}{phase}): {failure.detail or 'no detail'}"
    return Objection(sentence=sentence, certain=failure.kind != "lost")


def measurement_doubts(run: Run, s: Summary) -> Iterator[Objection]:
    """Yield why what was measured cannot carry a decision."""
    if s.candidate in run.dropped_early:
        yield Objection(sentence=f"was dropped early: {run.dropped_early[s.candidate]}", certain=False)
    elif s.p50_ms is None:
        yield Objection(sentence=f"its latency is not known: {why(s, 'p50_ms')}", certain=False)
    elif s.verdict == "contaminated" and not run.plan.accept_disturbed:
        yield Objection(sentence=f"its measurement is contaminated: {why(s, 'verdict')}", certain=False)


def why(s: Summary, field: str) -> str:
    """Return the reason for a field that is None."""
    return s.reasons.get(field) or "nobody said why"
