"""What is left out before device time is spent, and that it is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgeopt.domain.goal import Goal
from edgeopt.domain.run import MeasurePlan
from edgeopt.errors import DeviceError
from edgeopt.flows.expectation import foresee, that_fit, worth_measuring
from edgeopt.profiles.load import load_profile
from tests.builders import make_built, make_candidate, make_model

MODEL = make_model(macs=4_000_000_000, activations=11_000_000, parameter_count=25_000_000, bytes=100_000_000)
PLANNED = [("original", "as given"), ("int8-static", "int8 U8S8 per-channel"), ("fp16", "fp16")]


def job(profile: str = "pi4", goal: Goal | None = None, model: Any = MODEL, **plan: Any) -> Any:
    return SimpleNamespace(model=model, profile=load_profile(profile), goal=goal or Goal(), plan=MeasurePlan(**plan))


def test_a_network_of_known_size_is_expected_where_it_was_measured() -> None:
    """ResNet-50 on a Pi 4: ncnn's own table says 262 ms in float and 196 ms in int8."""
    expected = foresee(job(), PLANNED).priors
    assert expected["original"].ms == pytest.approx(262, rel=0.15)
    assert expected["int8-static"].ms == pytest.approx(196, rel=0.15)


def test_half_floats_without_instructions_are_told_to_bring_no_time() -> None:
    outlook = foresee(job(), PLANNED)
    assert outlook.priors["fp16"].times_original == pytest.approx(1, rel=0.2)
    assert any("factor of 3" in line for line in outlook.sentences)
    assert outlook.lost == {}


def test_what_is_expected_to_be_slower_is_said_to_be_for_memory_and_size() -> None:
    """Without many products, dynamic int8 moves as many bytes at a lower rate."""
    small = make_model(macs=1_000_000, activations=11_000_000, parameter_count=1_000, bytes=4_000)
    outlook = foresee(job(model=small), [("original", "as given"), ("int8-dynamic", "int8 dynamic")])
    assert any(line.startswith("int8-dynamic: expected to take 1.3 times") for line in outlook.sentences)


def test_a_kind_of_board_without_figures_says_so_once() -> None:
    outlook = foresee(job("generic-aarch64"), PLANNED)
    assert len(outlook.sentences) == 1
    assert "no board of the kind" in outlook.sentences[0]


def test_nothing_is_expected_of_another_scenario_than_one_after_the_other() -> None:
    outlook = foresee(job(goal=Goal(max_latency_p50_ms=10), scenario="offline"), PLANNED)
    assert outlook.lost == {}
    assert outlook.sentences == (
        "No expectation: rates are of one inference after the other, the scenario is offline.",
    )


def test_a_limit_out_of_reach_is_told_before_anything_is_built() -> None:
    outlook = foresee(job(goal=Goal(max_latency_p50_ms=10)), PLANNED)
    assert set(outlook.lost) == {"int8-static", "fp16"}
    assert any("the goal's 10 ms" in line for line in outlook.sentences)


def test_a_model_larger_than_any_board_of_the_kind_is_told_with_the_numbers() -> None:
    large = make_model(macs=1, activations=1, parameter_count=150_000_000, bytes=600_000_000)
    outlook = foresee(job("pi-zero-2w", model=large), PLANNED)
    assert "512 MB" in outlook.lost["original"]
    assert "int8-static" not in outlook.lost


FACTS: dict[str, Any] = {"memory": {"total_bytes": 500_000_000}, "cpu": {"features": ["asimd", "crc32"]}}


def test_what_cannot_be_held_in_memory_is_left_out() -> None:
    variants = [make_built("original", size=600_000_000), make_built("int8", size=150_000_000)]
    fitting, refused = that_fit(variants, FACTS)
    assert [variant.name for variant in fitting] == ["int8"]
    assert "600 MB" in refused["original"]
    assert that_fit(variants, {})[1] == {}


def test_when_nothing_fits_the_smallest_is_named() -> None:
    with pytest.raises(DeviceError, match="the smallest variant, int8, does not fit") as caught:
        that_fit([make_built("original", size=900_000_000), make_built("int8", size=600_000_000)], FACTS)
    assert caught.value.code == "memory-too-small"


def test_candidates_out_of_reach_are_not_measured_and_the_board_itself_is_believed() -> None:
    variants = [make_built("original", size=100_000_000), make_built("int8", size=25_000_000, encoding="int8 static")]
    candidates = [make_candidate("original"), make_candidate("int8")]
    asked = job(goal=Goal(max_latency_p50_ms=10))
    kept, expected, lost = worth_measuring(asked, variants, candidates, FACTS)
    assert [candidate.id for candidate in kept] == ["original@all"]
    assert set(lost) == {"int8@all"}
    assert len(expected) == 2
    other = {"cpu": {"features": ["asimd", "asimddp"]}}
    kept, expected, lost = worth_measuring(asked, variants, candidates, other)
    assert (len(kept), lost) == (2, {})
    assert "has asimddp" in (expected[0].reason or "")
