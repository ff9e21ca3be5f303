"""Sentences on answers that a device could not be asked for."""

from __future__ import annotations

from edgeopt.domain.run import Run


def unchecked_lines(run: Run) -> tuple[str, ...]:
    """Return a sentence for each reason, with the candidates that it holds for."""
    reasons: dict[str, list[str]] = {}
    for check in run.output_checks:
        if check.unchecked is not None:
            reasons.setdefault(check.unchecked, []).append(check.candidate)
    return tuple(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
