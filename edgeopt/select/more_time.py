"""What more time on the device would buy: from the spread of the rounds to the number of rounds that would decide what is still open."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Summary
from edgeopt.domain.run import Run
from edgeopt.select.blocks import block_ms, clean_blocks
from edgeopt.select.paired import MIN_FOR_T, differences, paired_interval, rounds_to_tell
from edgeopt.select.wording import ms, number, percent


def to_tell_apart(run: Run, best: Summary, rivals: Sequence[Summary]) -> str | None:
    """Say what would tell the pick from the nearest rival that is not known to be slower or faster; None when all are."""
    mine = _logs(run, best.candidate)
    nearest: tuple[float, float, str, int] | None = None
    for rival in rivals:
        values = differences(_logs(run, rival.candidate), mine)
        found = paired_interval(values, 0.025)
        if rival.candidate == best.candidate or found is None or not found.low <= 0 <= found.high:
            continue
        spread = statistics.stdev(values)
        if nearest is None or abs(found.middle) < abs(nearest[0]):
            nearest = (found.middle, spread, rival.candidate, found.rounds)
    if nearest is None:
        return None
    middle, spread, name, rounds = nearest
    pair = f"{best.candidate} and {name} differ by {percent(abs(math.expm1(middle)))} in p50, which {rounds} rounds cannot tell from nothing"
    return f"{pair}; {_price(run, middle, spread, rounds, [best.candidate, name])}"


def to_decide_limit(run: Run, goal: Goal, doubtful: Summary) -> str | None:
    """Say what would decide if a candidate keeps the limit of its p50; None when that is not what is open."""
    limit, values = goal.max_latency_p50_ms, list(_logs(run, doubtful.candidate).values())
    if limit is None or doubtful.p50_ms is None or len(values) < MIN_FOR_T:
        return None
    found = paired_interval([value - math.log(limit) for value in values], 0.025)
    if found is None or not found.low <= 0 <= found.high:
        return None
    price = _price(run, found.middle, statistics.stdev(values), len(values), [doubtful.candidate])
    return f"the p50 of {doubtful.candidate} is {percent(abs(math.expm1(found.middle)))} from the limit of {ms(limit)}; {price}"


def _logs(run: Run, name: str) -> dict[int, float]:
    return {block.round: math.log(block_ms(block)) for block in clean_blocks(run, name)}


def _price(run: Run, difference: float, spread: float, rounds: int, names: Sequence[str]) -> str:
    needed = rounds_to_tell(difference, spread)
    if needed is None:
        return "1000 rounds would probably not be enough"
    more = max(needed - rounds, 1)
    walls = [[block.wall_ns for block in run.blocks if block.candidate == name and block.wall_ns] for name in names]
    seconds = math.fsum(statistics.fmean(found) / 1e9 for found in walls if found) * more
    cost = f", {number(float(round(seconds)))} s" if all(walls) else ""
    return f"about {more} more round{'s' if more > 1 else ''}{cost} of these would probably decide it"
