"""The race: who cannot win is dropped, what is decided is not measured again, and it says why it ended."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.domain.goal import Goal
from edgeopt.domain.race import Decision
from edgeopt.domain.run import Block, Candidate, MeasurePlan, Run, Setting
from edgeopt.select.pick import choose
from edgeopt.select.race import Race
from edgeopt.select.summarise import summarise
from tests.builders import make_blocks, make_failure, make_fidelity, make_run

LIMITLESS = Goal(min_agreement=None)


class Raced(msgspec.Struct):
    """A race that was run to its end."""

    run: Run
    rounds: dict[str, int]
    dropped: dict[str, str]
    stopped: str


def race(
    levels: Mapping[str, float],
    *,
    goal: Goal = LIMITLESS,
    noise: float = 0.004,
    seed: int = 0,
    plan: MeasurePlan | None = None,
    threads: Mapping[str, int] | None = None,
    flags: Mapping[str, tuple[str, ...]] | None = None,
    peaks: Mapping[str, int] | None = None,
    **changes: Any,
) -> Raced:
    """Race candidates of these levels (ms) with noise of blocks; `threads` puts a candidate in another setting, and `original-2` is the original again."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    run = make_run(dict.fromkeys(levels, 1.0), rounds=0, **changes)
    candidates = tuple(
        Candidate(
            id=f"{name}@all",
            variant=name.split("-")[0] if name.startswith("original") else name,
            setting=Setting(threads=(threads or {}).get(name, 0)),
        )
        for name in levels
    )
    run = msgspec.structs.replace(run, goal=goal, plan=plan or MeasurePlan(), blocks=(), candidates=candidates)
    judge = Race(run, goal)
    alive, blocks, dropped, decision = list(candidates), [], {}, Decision()
    for number in range(200):
        for candidate in alive:
            if candidate.id in decision.resting:
                continue
            name = candidate.id.removesuffix("@all")
            level = levels[name] * (1 + noise * rng.gauss(0, 1))
            peak = (peaks or {}).get(name, 80_000_000)
            (block,) = make_blocks(candidate.id, [level], flags={0: (flags or {}).get(name, ())}, peak=peak)
            blocks.append(msgspec.structs.replace(block, round=number))
        decision = judge.after_round(blocks, alive)
        dropped |= decision.dropped
        alive = [candidate for candidate in alive if candidate.id not in decision.dropped]
        if decision.stopped is not None:
            break
    assert decision.stopped is not None
    run = msgspec.structs.replace(run, blocks=tuple(blocks), dropped_early=dropped, stopped=decision.stopped)
    return Raced(run, rounds_of(blocks), dropped, decision.stopped)


def rounds_of(blocks: Sequence[Block]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for block in blocks:
        name = block.candidate.removesuffix("@all")
        counted[name] = counted.get(name, 0) + 1
    return counted


def test_far_behind_goes_after_two_rounds_and_the_winner_gets_six() -> None:
    raced = race({"original": 30.0, "int8": 10.0, "slow": 20.0})
    assert raced.rounds["slow"] == 2
    assert raced.rounds["int8"] == 6
    assert "int8@all" in raced.dropped["slow@all"]
    assert "ahead of all others" in raced.stopped


def test_the_original_is_never_dropped_and_rests_when_every_comparison_with_it_is_decided() -> None:
    raced = race({"original": 11.0, "int8": 10.0, "near": 10.0})
    assert "original@all" not in raced.dropped
    assert raced.rounds["original"] >= 6


def test_a_beaten_original_in_a_setting_that_nobody_else_is_in_rests_at_once() -> None:
    raced = race({"original": 11.0, "int8": 10.0, "original-2": 40.0}, threads={"original-2": 1})
    assert raced.rounds["original-2"] == 2
    assert "original-2@all" not in raced.dropped


def test_a_small_difference_is_found_by_comparing_inside_rounds() -> None:
    raced = race({"original": 11.5, "int8": 10.0, "near": 10.5})
    assert "times as long as the leader" in raced.dropped["near@all"]
    assert raced.rounds["near"] <= 12


def test_ties_end_the_race_without_a_loser() -> None:
    raced = race({"original": 10.0, "int8": 10.0, "other": 10.0})
    assert raced.dropped == {}
    assert raced.stopped.startswith("none of the 3 that are left beats")
    assert max(raced.rounds.values()) <= 12


def test_a_tie_may_be_won_by_the_leaner_one_though_it_is_a_little_behind() -> None:
    levels = {"original": 20.0, "fast": 10.0, "lean": 10.05}
    raced = race(levels, noise=0.0005, peaks={"lean": 40_000_000})
    assert raced.dropped == {}
    assert choose(raced.run, LIMITLESS, summarise(raced.run)).candidate == "lean@all"
    assert set(race(levels, noise=0.0005).dropped) == {"lean@all"}


def test_what_cannot_be_told_apart_ends_with_the_most_rounds() -> None:
    raced = race({"original": 10.0, "int8": 10.0}, noise=0.2)
    assert raced.rounds["int8"] == 24
    assert raced.stopped.startswith("24 rounds are the most")


def test_a_fixed_number_of_rounds_is_kept_and_only_gross_losers_go() -> None:
    raced = race({"original": 11.5, "int8": 10.0, "near": 10.8, "far": 20.0}, plan=MeasurePlan(rounds=9))
    assert raced.rounds == {"original": 9, "int8": 9, "near": 9, "far": 2}
    assert raced.stopped == "the 9 rounds that were asked for are done"


def test_who_may_not_be_picked_drops_nobody_who_may() -> None:
    agreements = {"wrong": make_fidelity(0.5)}
    raced = race(
        {"original": 30.0, "wrong": 5.0, "int8": 10.0, "worse": 25.0}, goal=Goal(), agreements=agreements, seed=3
    )
    assert set(raced.dropped) == {"worse@all"}
    assert "int8@all" in raced.dropped["worse@all"]
    assert raced.rounds["wrong"] >= 6


@pytest.mark.parametrize("limit", [{"max_memory_mb": 50}, {"max_latency_p50_ms": 4.0}])
def test_a_broken_limit_is_noticed_on_the_way(limit: dict[str, float]) -> None:
    peaks = {"large": 90_000_000, "int8": 40_000_000, "original": 45_000_000}
    goal = Goal(min_agreement=None, **limit)
    raced = race({"original": 11.0, "large": 9.0, "int8": 10.0}, goal=goal, peaks=peaks)
    assert "int8@all" not in raced.dropped or "max_memory_mb" not in limit


def test_rounds_go_on_while_a_limit_lies_inside_of_the_interval() -> None:
    goal = Goal(min_agreement=None, max_latency_p50_ms=10.0)
    raced = race({"original": 20.0, "int8": 10.0}, goal=goal, noise=0.02)
    assert raced.rounds["int8"] == 24
    decided = race({"original": 20.0, "int8": 9.0}, goal=goal, noise=0.02)
    assert decided.rounds["int8"] == 6


def test_memory_decides_after_two_rounds_however_fast_the_larger_one_is() -> None:
    peaks = {"original": 90_000_000, "fast": 80_000_000, "lean": 40_000_000}
    goal = Goal(objective="memory", min_agreement=None)
    raced = race({"original": 10.0, "fast": 2.0, "lean": 9.0}, goal=goal, peaks=peaks)
    assert set(raced.dropped) == {"fast@all"}
    assert "peak memory" in raced.dropped["fast@all"]
    assert choose(raced.run, goal, summarise(raced.run)).candidate == "lean@all"


def test_the_smallest_is_never_dropped_when_size_is_asked_for() -> None:
    sizes = {"original": 4_000_000, "fast": 3_000_000, "small": 1_000_000}
    goal = Goal(objective="size", min_agreement=None)
    raced = race({"original": 10.0, "fast": 2.0, "small": 9.0}, goal=goal, sizes=sizes)
    assert set(raced.dropped) == {"fast@all"}
    assert "size" in raced.dropped["fast@all"]


def test_nobody_is_dropped_by_latency_when_energy_is_asked_for() -> None:
    raced = race({"original": 10.0, "fast": 2.0}, goal=Goal(objective="energy", min_agreement=None))
    assert raced.rounds == {"original": 6, "fast": 6}


def test_a_board_that_is_never_quiet_is_not_measured_on_and_on() -> None:
    flags = dict.fromkeys(("original", "int8"), ("foreign-load",))
    raced = race({"original": 20.0, "int8": 10.0}, flags=flags)
    assert raced.rounds == {"original": 6, "int8": 6}
    assert "undisturbed" in raced.dropped["int8@all"]
    assert raced.stopped == "no candidate is left"


def test_failed_blocks_are_no_evidence() -> None:
    run = msgspec.structs.replace(make_run({"original": 10.0, "slow": 50.0}, rounds=0), plan=MeasurePlan(), blocks=())
    blocks = [*make_blocks("original@all", [1, 1]), *make_blocks("slow@all", [50, 50], failures={1: make_failure()})]
    assert Race(run, LIMITLESS).after_round(blocks, run.candidates) == Decision()
    gone = [*blocks, *make_blocks("gone@all", [0.001, 0.001])]
    assert Race(run, LIMITLESS).after_round(gone, run.candidates) == Decision()


def test_no_candidates_and_no_blocks_end_at_once() -> None:
    run = msgspec.structs.replace(make_run({}), plan=MeasurePlan(), blocks=())
    assert Race(run, LIMITLESS).after_round([], []).stopped == "no candidate is left"


levels = st.dictionaries(
    st.sampled_from(["original", "a", "b", "c", "d"]),
    st.sampled_from([10.0, 10.1, 11.0, 13.0, 30.0]),
    min_size=1,
)


@settings(deadline=None, max_examples=40)
@given(levels, st.sampled_from([0.0, 0.005, 0.1]), st.integers(0, 9))
def test_every_race_ends_keeps_the_original_and_somebody(found: dict[str, float], noise: float, seed: int) -> None:
    raced = race(found, noise=noise, seed=seed)
    assert "original@all" not in raced.dropped
    assert set(raced.rounds) == set(found)
    assert max(raced.rounds.values()) <= 24
    assert len(raced.dropped) < len(found)
