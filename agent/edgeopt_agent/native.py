"""A timed block whose inferences a native program makes and times: what it tells, judged as any block's latencies are."""

from __future__ import annotations

from edgeopt_agent import steady, watch
from edgeopt_agent.errors import BlockFailed
from edgeopt_agent.probes import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.runtimes import LoadedModel, TimedByProgram

SCENARIO = "single-stream"
"""All that such programs know."""
MAX_ANSWERS = 8


def of(model: Any) -> TimedByProgram | None:
    """Return a model that is timed by the program that runs it; None for one that this process runs itself."""
    return model if hasattr(model, "timed") else None


def fewer(model: LoadedModel, samples: int) -> int:
    """Return how many samples are answered: each is a process where a program runs the model."""
    return samples if of(model) is None else min(samples, MAX_ANSWERS)


def refuse(model: LoadedModel) -> None:
    """Raise BlockFailed for a model whose every inference would be a process: what is measured in a loop would be that."""
    if of(model) is not None:
        raise BlockFailed("error", "its program can be timed, and nothing else: no energy, no sustained load")


def block(
    job: dict[str, Any], model: TimedByProgram, feed: dict[str, Any], enter: Callable[[str], None], most: int
) -> dict[str, Any]:
    """Let the program time a block; returns what the wire says of it.

    Args:
        job: of mode `time`.
        model: what is run.
        feed: the sample that it is given over and over.
        enter: says that a phase begins.
        most: so many latencies are kept.

    Raises:
        BlockFailed: another scenario, answers that are no numbers, or what the program says.
        ValueError: what it wrote cannot be read.
    """
    from edgeopt_agent.runtimes import tensors

    if job["scenario"]["name"] != SCENARIO:
        raise BlockFailed("error", "its program runs one inference after the other and knows no other scenario")
    enter("outputs")
    problem = tensors.not_finite(model.run(feed), model.output_names)
    if problem is not None:
        raise BlockFailed("bad-output", problem)
    enter("timed")
    before = watch.counters()
    series = model.timed(
        feed,
        least=int(job["min_inferences"]),
        min_s=float(job["min_s"]),
        warmup_s=float(job["warmup_min_s"]),
    )
    counted = watch.between(before, watch.counters())
    found = steady.judge(series)
    cut = found.cut if found.is_steady else 0
    latencies = series[cut:][:most]
    result: dict[str, Any] = {
        "warmup_ns": series[:cut],
        "latencies_ns": latencies,
        "feeds": 1,
        "provider_used": model.provider_used,
        "timed": counted,
        # The counters are of the process that waits for the program: they tell of clocks and quotas, not of its work.
        "flags": [flag for flag in watch.doubts(counted, latencies) if flag not in ("preempted", "major-faults")],
        "inferences": len(latencies),
        "timed_ns": sum(latencies),
        "stream_ns": [],
        "steady": found.is_steady,
        "steady_reason": found.reason,
    }
    put(result, "load_ns", model.load_ns, "the program does not say how long it took to load")
    put(result, "first_ns", None, "the program does not tell of its first inference")
    put(result, "peak_rss_bytes", model.peak_bytes, "the program was gone before it was looked at")
    put(result, "late_starts", None, "nothing was scheduled")
    return result
