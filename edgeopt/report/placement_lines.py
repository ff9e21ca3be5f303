"""Sentences on nodes that ran elsewhere than they were asked to."""

from __future__ import annotations

from edgeopt.domain.run import Candidate, OutputCheck, Run


def placement_lines(run: Run) -> tuple[str, ...]:
    """Return a sentence for every candidate of which a part, or all, ran on another provider than its setting names."""
    checks = {check.candidate: check for check in run.output_checks}
    lines = (_line(candidate, checks.get(candidate.id), _used(run, candidate.id)) for candidate in run.candidates)
    return tuple(line for line in lines if line is not None)


def _used(run: Run, candidate: str) -> str | None:
    return next(
        (block.provider_used for block in run.blocks if block.candidate == candidate and block.provider_used), None
    )


def _line(candidate: Candidate, check: OutputCheck | None, used: str | None) -> str | None:
    wanted = candidate.setting.provider
    if used is not None and used != wanted:
        return f"{candidate.id}: {wanted} is not in the device's runtime, all of it ran on {used}"
    placement = check.placement if check is not None else None
    if not placement:
        return None
    elsewhere = {name: count for name, count in placement.items() if name != wanted}
    if not elsewhere:
        return None
    nodes = ", ".join(f"{count} on {name}" for name, count in sorted(elsewhere.items()))
    return f"{candidate.id}: of {sum(placement.values())} nodes, {nodes}, not on {wanted}"
