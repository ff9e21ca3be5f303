"""What more time would buy is said when something is open, and what it would cost."""

from __future__ import annotations

import random

import msgspec
import pytest

from edgeopt.domain.goal import Goal
from edgeopt.domain.run import MeasurePlan, Run
from edgeopt.select.compare import compare
from edgeopt.select.pick import choose
from edgeopt.select.summarise import summarise
from tests.builders import make_run


def noisy(levels: dict[str, float], noise: float, rounds: int, *, wall_s: float | None = 2.0) -> Run:
    rng = random.Random(4)  # noqa: S311 - a simulation
    drawn = {name: [ms * (1 + rng.gauss(0, noise)) for _ in range(rounds)] for name, ms in levels.items()}
    run = make_run(drawn, rounds=rounds)
    wall_ns = None if wall_s is None else int(wall_s * 1e9)
    return msgspec.structs.replace(run, blocks=tuple(msgspec.structs.replace(b, wall_ns=wall_ns) for b in run.blocks))


def said(run: Run, **goal: float) -> str | None:
    return choose(run, Goal(**goal), summarise(run)).more_time  # type: ignore[arg-type]


def test_two_that_are_not_told_apart_get_a_price() -> None:
    text = said(noisy({"original": 10.1, "int8": 10.0, "far": 20.0}, 0.02, 6))
    assert text is not None
    assert "original@all" in text
    assert "int8@all" in text
    assert "more round" in text
    assert " s of these" in text


def test_without_wall_times_there_are_rounds_but_no_seconds() -> None:
    text = said(noisy({"original": 10.1, "int8": 10.0}, 0.02, 6, wall_s=None))
    assert text is not None
    assert " s of these" not in text


def test_identical_ones_are_said_to_be_beyond_reach() -> None:
    run = make_run({"original": [10.0, 10.1, 10.0, 10.1, 10.0, 10.1], "int8": [10.1, 10.0] * 3}, rounds=6)
    assert "would probably not be enough" in (said(run) or "")


def test_nothing_is_sold_where_all_is_decided() -> None:
    assert said(noisy({"original": 20.0, "int8": 10.0}, 0.01, 8)) is None
    assert said(make_run({"original": 10.0}, rounds=2)) is None


def test_a_limit_inside_of_the_interval_gets_a_price_too() -> None:
    run = noisy({"original": 10.0}, 0.03, 6)
    text = said(run, max_latency_p50_ms=10.05)
    assert text is not None
    assert "limit of 10.05 ms" in text


@pytest.mark.parametrize(
    ("run", "limit"),
    [
        (noisy({"original": 10.0}, 0.03, 6), {"max_latency_p90_ms": 10.0}),
        (noisy({"original": 10.0}, 0.01, 2), {"max_latency_p50_ms": 10.0}),
        (noisy({"original": 20.0}, 0.01, 6), {"max_latency_p50_ms": 10.0}),
        (make_run({"original": [10.0, 13.0] * 6}, rounds=12), {"max_latency_p50_ms": 10.0}),
        (noisy({"original": 9.8}, 0.01, 6), {"max_latency_p50_ms": 10.0, "max_memory_mb": 1.0}),
        (noisy({"original": 9.8}, 0.01, 3), {"max_latency_p50_ms": 9.805}),
    ],
)
def test_what_rounds_cannot_decide_is_not_offered(run: Run, limit: dict[str, float]) -> None:
    text = said(run, **limit)
    assert text is None or "limit" in text


def test_nothing_is_sold_for_what_cannot_be_measured_further() -> None:
    run = make_run({"original": 10.0, "int8": 10.0}, plan=MeasurePlan(rounds=8))
    assert said(run, max_memory_mb=1.0) is None


def levels(ms: float, noise: float, rounds: int, seed: int) -> dict[int, float]:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    return {number: ms * (1 + rng.gauss(0, noise)) for number in range(rounds)}


def test_a_gate_passes_what_is_equal_and_says_what_it_could_have_found() -> None:
    found = compare(levels(10, 0.005, 12, 1), levels(10, 0.005, 12, 2))
    assert found.verdict == "pass"
    assert found.rounds == 12
    assert found.detectable == pytest.approx(0.0063, abs=0.003)


def test_a_gate_fails_what_is_slower_by_more_than_the_margin_for_sure() -> None:
    found = compare(levels(10, 0.005, 12, 1), levels(11, 0.005, 12, 2))
    assert found.verdict == "regress"
    assert found.ratio == pytest.approx(1.1, abs=0.01)
    assert found.low is not None
    assert found.low > 1.02


def test_a_gate_does_not_decide_on_noise_or_on_nothing() -> None:
    assert compare(levels(10, 0.05, 6, 1), levels(10.2, 0.05, 6, 2)).verdict == "inconclusive"
    assert compare({0: 1.0, 1: 1.0}, {0: 1.0, 2: 1.0}).verdict == "inconclusive"


def test_identical_builds_fail_in_at_most_six_of_a_hundred_without_a_margin_and_hardly_ever_with_it() -> None:
    pairs = [(levels(10, 0.01, 10, 2 * n), levels(10, 0.01, 10, 2 * n + 1)) for n in range(1000)]
    for margin, most in ((0.0, 0.06), (0.02, 0.01)):
        failed = sum(compare(a, b, margin).verdict == "regress" for a, b in pairs)
        assert failed / len(pairs) < most


def test_the_nearest_of_several_is_the_one_that_is_named() -> None:
    run = make_run(
        {
            "original": [10.0] * 6,
            "nearer": [10.1, 9.93, 10.12, 9.94, 10.1, 9.95],
            "far": [10.3, 9.85, 10.3, 9.9, 10.35, 9.95],
        },
        rounds=6,
        peaks={"original": 50_000_000},
    )
    text = said(run) or ""
    assert text.startswith("original@all and nearer@all")
