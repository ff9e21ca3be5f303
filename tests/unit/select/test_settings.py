"""Settings: what is offered for which board, what a few short blocks rule out, and that something is always left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.device import Profile
from edgeopt.domain.goal import Goal, Objective
from edgeopt.domain.run import Block, MeasurePlan, Setting, plain_provider
from edgeopt.select.settings import (
    KEPT,
    Offer,
    affordable,
    big_cores,
    label,
    offers,
    screen_outlook,
    screened_out,
    short_block_s,
    short_plan,
)
from tests.builders import make_block, make_failure

PI = {"cpu": {"usable_cores": 4, "clusters": [{"cores": [0, 1, 2, 3], "capacity": None, "max_mhz": 1800}]}}
PIXEL = {
    "cpu": {
        "usable_cores": 8,
        "clusters": [
            {"cores": [6, 7], "capacity": 1024, "max_mhz": 2802},
            {"cores": [4, 5], "capacity": 800, "max_mhz": 2253},
            {"cores": [0, 1, 2, 3], "capacity": 160, "max_mhz": 1803},
        ],
    }
}


def labels(facts: Mapping[str, Any], objective: Objective = "latency", *, limited: bool = False) -> list[str]:
    return [offer.label for offer in offers(facts, objective, memory_limited=limited, runtime="onnxruntime")]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (PI, ["all", "2", "1", "all nospin"]),
        (PIXEL, ["all", "big4", "big2", "big1", "all nospin"]),
        ({"cpu": {"usable_cores": 1}}, ["all"]),
        ({"cpu": {"usable_cores": 2}}, ["all", "1", "all nospin"]),
        ({}, ["all"]),
    ],
)
def test_offered_are_one_two_the_big_cores_and_all_without_duplicates(
    facts: Mapping[str, Any], expected: list[str]
) -> None:
    assert labels(facts) == expected


def test_big_cores_are_named_by_number() -> None:
    found = {
        offer.label: offer.setting for offer in offers(PIXEL, "latency", memory_limited=False, runtime="onnxruntime")
    }
    assert found["big2"] == Setting(runtime="onnxruntime", threads=2, affinity=(4, 5, 6, 7))


def test_the_arena_is_offered_where_memory_counts_and_nothing_where_only_the_file_does() -> None:
    assert labels(PI, "memory")[1] == "all noarena"
    assert labels(PI, limited=True)[1] == "all noarena"
    assert labels(PI, "size") == ["all"]


def test_a_gpu_has_no_threads_and_computes_in_half_precision_too() -> None:
    offered = offers(PI, "latency", memory_limited=False, runtime="tensorrt")

    assert [(offer.label, offer.setting.precision) for offer in offered] == [("gpu", None), ("gpu fp16", "fp16")]
    assert {offer.setting.provider for offer in offered} == {"GPU"}


def test_providers_that_the_runtime_has_are_offered() -> None:
    providers = ["CUDAExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]
    facts = PI | {"runtimes": [{"name": "onnxruntime", "providers": providers}, {"name": "other", "providers": []}]}
    assert labels(facts) == ["all", "2", "1", "cuda", "all nospin"]
    assert label(Setting(provider="XnnpackExecutionProvider", threads=2)) == "xnnpack 2"


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        ([], ()),
        ([{"cores": [0, 1], "capacity": None, "max_mhz": None}, {"cores": [2], "capacity": None, "max_mhz": 900}], ()),
        ([{"cores": [0], "capacity": None, "max_mhz": 5300}, {"cores": [1], "capacity": None, "max_mhz": 5200}], ()),
        ([{"cores": [2], "capacity": None, "max_mhz": 2400}, {"cores": [0], "capacity": None, "max_mhz": 1200}], (2,)),
        ([{"cores": [2], "capacity": 1000, "max_mhz": 24}, {"cores": [0], "capacity": 1000, "max_mhz": 12}], (2,)),
    ],
)
def test_little_cores_are_clearly_slower_ones(clusters: list[dict[str, Any]], expected: tuple[int, ...]) -> None:
    assert big_cores(clusters) == expected


OFFERED = tuple(Offer(label=name, setting=Setting()) for name in ("all", "2", "1", "all nospin"))


def blocks(**levels: Mapping[str, float | None]) -> dict[tuple[str, str], Block]:
    """variant -> setting -> ms; None is a failed block."""
    return {
        (variant, name): make_block(f"{variant}@{name}", 0, [ms] * 3)
        if ms is not None
        else Block(candidate=variant, round=0, position=0, failure=make_failure())
        for variant, found in levels.items()
        for name, ms in found.items()
    }


def test_far_behind_for_every_variant_is_left_out() -> None:
    found = blocks(
        original={"all": 10, "2": 16, "1": 30, "all nospin": 10.5}, int8={"all": 6, "2": 7, "1": 9, "all nospin": 8}
    )
    lost = screened_out(OFFERED, found, "latency")
    assert set(lost) == {"1", "2"}
    assert "at least 1.5 times the time of the best setting (all)" in lost["1"]
    assert "2 settings were better: all, all nospin" in lost["2"]


def test_near_the_best_for_one_variant_is_enough_to_stay() -> None:
    found = blocks(original={"all": 10, "1": 30}, int8={"all": 6, "1": 5})
    assert screened_out((OFFERED[0], OFFERED[2]), found, "latency") == {}


def test_memory_is_compared_where_memory_is_the_objective() -> None:
    found = blocks(original={"all": 10, "1": 30})
    heavy = msgspec.structs.replace(found["original", "all"], peak_rss_bytes=200_000_000)
    unknown = {("int8", "all"): make_block("int8@all", peak_rss_bytes=None)}
    lost = screened_out((OFFERED[0], OFFERED[2]), found | {("original", "all"): heavy} | unknown, "memory")
    assert set(lost) == {"all"}
    assert "the memory of the best setting (1)" in lost["all"]


def test_a_setting_that_fails_for_every_variant_is_left_out_with_its_failure() -> None:
    found = blocks(original={"all": 10, "2": None}, int8={"all": 6, "2": None, "1": None})
    lost = screened_out(OFFERED[:2], found, "latency")
    assert lost == {"2": "did not run: killed by SIGILL"}
    everything = screened_out(OFFERED[:1], blocks(original={"all": None}), "latency")
    assert everything == {}


def test_disturbed_blocks_rule_nothing_out_and_stand_behind() -> None:
    found = blocks(original={"all": 10, "2": 90, "1": 10})
    disturbed = msgspec.structs.replace(found["original", "2"], flags=("foreign-load",))
    unsettled = msgspec.structs.replace(found["original", "1"], flags=("unsteady",))
    found |= {("original", "2"): disturbed, ("original", "1"): unsettled}
    assert set(screened_out(OFFERED[:3], found, "latency")) == {"2"}
    assert screened_out(OFFERED[:2], found, "latency") == {}
    accepted = screened_out(OFFERED[:2], found, "latency", accept_disturbed=True)
    assert "9 times" in accepted["2"]


def test_when_everything_is_disturbed_the_first_goes_on() -> None:
    found = {("original", name): make_block("x", flags=("throttled",)) for name in ("all", "2")}
    lost = screened_out(OFFERED[:2], found, "latency")
    assert lost == {"2": "no short block was undisturbed, so only the first setting goes on"}


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["original", "int8"]), st.sampled_from([offer.label for offer in OFFERED])),
        st.none() | st.floats(0.1, 1000),
    )
)
def test_something_is_always_left_and_never_more_than_go_on(levels: dict[tuple[str, str], float | None]) -> None:
    nested: dict[str, dict[str, float | None]] = {}
    for (variant, name), ms in levels.items():
        nested.setdefault(variant, {})[name] = ms
    lost = screened_out(OFFERED, blocks(**nested), "latency")
    left = [offer.label for offer in OFFERED if offer.label not in lost]
    assert 1 <= len(left) <= KEPT
    known = {key: ms for key, ms in levels.items() if ms is not None}
    if known:
        fastest = min(known.values())
        assert any(name in left for (_, name), ms in known.items() if ms == fastest)


def test_a_small_budget_screens_fewer_and_a_smaller_one_nothing() -> None:
    assert affordable(OFFERED, 2, 2.0, None) == OFFERED
    assert affordable(OFFERED, 2, 2.0, 60.0) == OFFERED[:3]
    assert affordable(OFFERED, 2, 2.0, 5.0) == OFFERED[:1]


def test_short_blocks_are_short_whatever_the_plan_says() -> None:
    short = short_plan(MeasurePlan(block_min_s=0.05))
    assert (short.block_min_s, short.block_max_s, short.block_min_inferences) == (0.05, 1.0, 5)
    assert 1.5 < short_block_s(MeasurePlan()) < 2.5


def test_the_outlook_counts_the_screen_and_who_may_go_on() -> None:
    profile = Profile(name="pi", title="Pi", arch="aarch64", cores=4, recipes=("clean",))
    outlook = screen_outlook(MeasurePlan(), profile, Goal(), {"onnxruntime": 3})
    assert outlook.candidates == 3 * KEPT + 1
    assert outlook.seconds == pytest.approx(4 * 2 * short_block_s(MeasurePlan()))
    unknown = msgspec.structs.replace(profile, cores=None)
    assert screen_outlook(MeasurePlan(), unknown, Goal(max_memory_mb=10), {"onnxruntime": 3}).seconds > outlook.seconds
    for plan, goal in ((MeasurePlan(settings="fixed"), Goal()), (MeasurePlan(), Goal(objective="size"))):
        assert screen_outlook(plan, profile, goal, {"onnxruntime": 3}).candidates is None


@pytest.mark.parametrize(
    ("runtime", "features", "offered"),
    [
        ("openvino", ["avx2", "amx_bf16"], ["all", "1", "all bf16"]),
        ("openvino", ["asimd", "asimdhp"], ["all", "1", "all fp16"]),
        ("ncnn", ["asimd", "asimdhp"], ["all", "1", "all fp16"]),
        ("ncnn", ["avx2", "amx_bf16"], ["all", "1"]),
        ("litert", ["asimdhp", "amx_bf16"], ["all", "1"]),
        ("openvino", [], ["all", "1"]),
    ],
)
def test_half_precision_is_offered_where_the_cpu_has_it_and_the_runtime_can_be_told(
    runtime: str, features: list[str], offered: list[str]
) -> None:
    """And spinning is onnxruntime's alone."""
    facts = {"cpu": {"usable_cores": 2, "features": features}}
    found = offers(facts, "latency", memory_limited=True, runtime=runtime)
    assert [offer.label for offer in found] == offered
    assert all(offer.setting.provider == plain_provider(runtime) for offer in found)


def test_what_else_openvino_computes_on_is_offered() -> None:
    facts = {
        "cpu": {"usable_cores": 1},
        "runtimes": [{"name": "openvino", "providers": ["CPU", "GPU"]}, {"name": "litert", "providers": ["XNNPACK"]}],
    }
    assert [o.label for o in offers(facts, "latency", memory_limited=False, runtime="openvino")] == ["all", "gpu"]
    assert [o.label for o in offers(facts, "latency", memory_limited=False, runtime="litert")] == ["all"]
