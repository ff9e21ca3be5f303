"""What people are told of a measurement beside its figures: why it ended, what more time would buy, and where there is no single level."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.report.cells import figure, percent, safe


def measurement_lines(run: Run, pick: Pick) -> Iterator[str]:
    """Yield one line for each thing to tell."""
    for summary in pick.summaries:
        if summary.regimes:
            levels = " and ".join(f"{figure(part.level)} ms ({percent(part.share)} %)" for part in summary.regimes)
            yield safe(f"two levels: {summary.candidate} switches between {levels}")
    if run.stopped is not None:
        yield safe(f"rounds ended: {run.stopped}")
    if pick.more_time is not None:
        yield safe(f"more time: {pick.more_time}")
