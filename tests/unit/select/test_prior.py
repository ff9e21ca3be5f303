"""The prior: a sum of two terms, a reason for every silence, and it prunes only what is hopeless."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.device import Profile, Roofline
from edgeopt.domain.goal import Goal
from edgeopt.domain.prior import Prior
from edgeopt.domain.run import Setting
from edgeopt.select.guard import worse_than_original
from edgeopt.select.pick import choose
from edgeopt.select.prior import compare, does_not_fit, expect, hopeless, planned_bytes, priors
from edgeopt.select.summarise import summarise
from tests.builders import make_candidate, make_model, make_run, make_summary

MODEL = make_model(macs=1_000_000_000, activations=5_000_000, parameter_count=2_000_000, bytes=8_000_000)
PROFILE = Profile(
    name="board",
    title="A board",
    arch="aarch64",
    cores=4,
    isa=("asimd", "asimdhp"),
    fp16=True,
    recipes=("clean",),
    roofline=(
        Roofline(dtype="fp32", threads=4, gmac_per_s=10.0, gb_per_s=2.0),
        Roofline(dtype="fp16", threads=4, gmac_per_s=20.0, gb_per_s=2.0),
        Roofline(dtype="int8", threads=4, gmac_per_s=20.0, gb_per_s=1.0),
    ),
)


def expected(
    encoding: str, size: int = 8_000_000, threads: int = 0, **changes: object
) -> tuple[float | None, str | None]:
    profile = msgspec.structs.replace(PROFILE, **changes)
    return expect(MODEL, profile, encoding=encoding, weight_bytes=size, threads=threads)


@pytest.mark.parametrize(
    ("encoding", "size", "ms"),
    [
        ("as given", 8_000_000, 100 + 4 + 20),
        ("fp32", 8_000_000, 100 + 4 + 20),
        ("fp16", 4_000_000, 50 + 2 + 10),
        ("int8 U8S8 per-channel", 2_000_000, 50 + 2 + 10),
        ("int8 dynamic", 2_000_000, 50 + 2 + 40),
        ("int4 weights", 1_000_000, 100 + 0.5 + 20),
    ],
)
def test_time_is_arithmetic_plus_traffic(encoding: str, size: int, ms: float) -> None:
    assert expected(encoding, size) == (pytest.approx(ms), None)


def test_half_floats_without_their_instructions_are_storage_only() -> None:
    assert expected("fp16", 4_000_000, fp16=False)[0] == pytest.approx(100 + 2 + 20)


@pytest.mark.parametrize(("dtype", "ms"), [("float16", 50 + 4 + 10), ("int8", 50 + 8 + 10), ("float32", 124.0)])
def test_a_model_as_given_is_computed_in_its_own_format(dtype: str, ms: float) -> None:
    model = msgspec.structs.replace(MODEL, parameter_dtypes={dtype: 10, "int64": 2})
    assert expect(model, PROFILE, encoding="as given", weight_bytes=8_000_000, threads=4)[0] == pytest.approx(ms)


def test_silence_has_a_reason() -> None:
    assert "no board of the kind" in (expected("fp32", roofline=())[1] or "")
    assert "2 threads" in (expected("fp32", threads=2)[1] or "")
    assert "all threads" in (expected("fp32", cores=None)[1] or "")
    uncounted = msgspec.structs.replace(MODEL, macs=None, costs_reason="it has control flow")
    assert "control flow" in (expect(uncounted, PROFILE, encoding="fp32", weight_bytes=1, threads=4)[1] or "")


def test_a_board_with_another_cpu_than_its_profile_has_no_expectation() -> None:
    def reason(*features: str) -> str | None:
        return expect(MODEL, PROFILE, encoding="fp32", weight_bytes=1, threads=4, features=features)[1]

    assert reason("asimd", "asimdhp") is None
    assert reason() is None
    assert "has asimddp" in (reason("asimd", "asimdhp", "asimddp") or "")
    assert "lacks asimdhp" in (reason("asimd") or "")


def test_planned_sizes_follow_the_encoding() -> None:
    sizes = [planned_bytes(MODEL, encoding) for encoding in ("as given", "fp16", "int8 dynamic", "int4 weights")]
    assert sizes == [8_000_000, 4_000_000, 2_000_000, 1_000_000]


ORIGINAL, INT8, HALF = (make_candidate(name) for name in ("original", "int8", "half"))


def test_everyone_is_compared_with_the_original_in_the_same_setting() -> None:
    one = make_candidate("int8", threads=1)
    variants = {"original": ("fp32", 8_000_000), "int8": ("int8 static", 2_000_000)}
    found = priors((ORIGINAL, INT8, one), MODEL, PROFILE, variants)
    assert [prior.candidate for prior in found] == ["original@all", "int8@all", "int8@1"]
    assert found[0].times_original == 1
    assert found[1].times_original == pytest.approx(62 / 124)
    assert (found[2].ms, found[2].times_original) == (None, None)


def test_rates_of_a_cpu_say_nothing_of_an_accelerator() -> None:
    setting = Setting(provider="CUDAExecutionProvider")
    cuda = msgspec.structs.replace(INT8, id="int8@cuda", setting=setting)
    (found,) = priors((cuda,), MODEL, PROFILE, {"int8": ("int8 static", 2_000_000)})
    assert found.ms is None
    assert "not of CUDA" in (found.reason or "")


def test_rates_of_one_inference_after_the_other_say_nothing_of_another_scenario() -> None:
    (found,) = priors((INT8,), MODEL, PROFILE, {"int8": ("int8 static", 2_000_000)}, scenario="offline")
    assert found.ms is None
    assert "the scenario is offline" in (found.reason or "")


def prior(name: str, ms: float | None) -> Prior:
    return Prior(candidate=f"{name}@all", ms=ms, reason=None if ms else "no rates")


def test_more_than_three_times_the_fastest_is_not_worth_device_time() -> None:
    found = [prior("original", 100.0), prior("int8", 10.0), prior("half", 31.0)]
    lost = hopeless((ORIGINAL, INT8, HALF), found, Goal())
    assert set(lost) == {"half@all"}
    assert "3.1 times what is expected of int8@all" in lost["half@all"]
    assert hopeless((ORIGINAL, INT8, HALF), found, Goal(objective="memory")) == {}


def test_more_than_three_times_the_limit_is_not_worth_device_time() -> None:
    found = [prior("original", 100.0), prior("int8", 61.0), prior("half", None)]
    goal = Goal(objective="memory", max_latency_p50_ms=20, max_latency_p90_ms=30)
    lost = hopeless((ORIGINAL, INT8, HALF), found, goal)
    assert set(lost) == {"int8@all"}
    assert "the goal's 20 ms" in lost["int8@all"]


@given(st.lists(st.floats(0.1, 1e4), min_size=3, max_size=3), st.none() | st.floats(0.1, 1e4))
def test_the_original_and_the_fastest_are_never_pruned_by_the_race(levels: list[float], limit: float | None) -> None:
    found = [prior(name, ms) for name, ms in zip(("original", "int8", "half"), levels, strict=True)]
    lost = hopeless((ORIGINAL, INT8, HALF), found, Goal(max_latency_p50_ms=limit))
    assert "original@all" not in lost
    if limit is None:
        assert min(found, key=lambda p: p.ms or 0).candidate not in lost


def test_without_expectations_nobody_is_pruned() -> None:
    assert hopeless((ORIGINAL, INT8), [prior("original", None), prior("int8", None)], Goal(max_latency_p50_ms=1)) == {}


def test_weights_that_exceed_the_memory_are_refused_with_the_numbers() -> None:
    assert does_not_fit(400_000_000, 512_000_000) is None
    assert does_not_fit(400_000_000, None) is None
    sentence = does_not_fit(500_000_000, 512_000_000)
    assert sentence is not None
    assert "500 MB" in sentence
    assert "512 MB" in sentence


def test_expectation_and_measurement_stand_side_by_side() -> None:
    found = compare(
        [prior("int8", 10.0), prior("half", 10.0), prior("slow", 10.0), prior("gone", 10.0), prior("mute", None)],
        [
            make_summary("int8", p50_ms=20.0),
            make_summary("half", p50_ms=2.5),
            make_summary("slow", p50_ms=31.0),
            make_summary("mute", p50_ms=5.0),
        ],
    )
    assert [check.factor for check in found] == [2.0, 0.25, 3.1, None, None]
    assert found[0].sentence is None
    assert "4 times faster" in (found[1].sentence or "")
    assert "3.1 times slower" in (found[2].sentence or "")
    assert [check.reason for check in found[3:]] == ["it was not measured", "no rates"]
    failed = make_summary("int8", p50_ms=None, reasons={"p50_ms": "every block failed"})
    assert compare([prior("int8", 10.0)], [failed])[0].reason == "every block failed"


def test_a_pick_carries_the_comparison_and_says_who_was_pruned() -> None:
    run = make_run(priors=(prior("int8", 1.0),), pruned={"half@all": "was not measured: too slow"})
    pick = choose(run, Goal(), summarise(run))
    assert pick.prior[0].measured_ms == pytest.approx(5.0, rel=0.01)
    assert [loser.reason for loser in pick.losers if loser.name == "half@all"] == ["was not measured: too slow"]


def test_an_original_that_does_not_fit_is_nothing_to_be_worse_than() -> None:
    run = make_run({"int8": 5.0}, pruned={"original": "does not fit into the board's memory"})
    summaries = summarise(run)
    assert list(worse_than_original(run, Goal(), summaries[0], summaries)) == []
