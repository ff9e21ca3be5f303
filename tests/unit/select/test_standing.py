"""The line for people who wait."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.select.standing import Standing, degrees
from tests.builders import make_block, make_candidate, make_failure

CANDIDATES = [make_candidate("original"), make_candidate("int8")]


def test_before_anything_is_measured_it_says_what_is_tried() -> None:
    assert Standing(CANDIDATES).line([], "round 1 of 8", "int8@all") == "round 1 of 8: int8@all"


def test_the_leader_stands_beside_the_original_and_the_warmth_is_the_last_blocks() -> None:
    standing = Standing(CANDIDATES)
    blocks = [make_block("original@all", 0, [10.0]), make_block("int8@all", 0, [5.0])]
    assert standing.line(blocks, "round 2", "int8@all").endswith("int8@all leads at 0.5 times the original")
    blocks.append(make_block("int8@all", 1, [8.0], conditions_after={"temperature_c": {"cpu": 61.4, "gpu": 50}}))
    assert standing.line(blocks, "round 2", "x") == "round 2: x, 61 degrees, int8@all leads at 0.65 times the original"


def test_a_leading_original_is_only_named_and_failures_do_not_lead() -> None:
    standing = Standing(CANDIDATES)
    failed = make_block("int8@all", failure=make_failure(), latencies_ns=())
    assert standing.line([make_block("original@all"), failed], "r", "x") == "r: x"
    slower = make_block("int8@all", 1, [20.0])
    assert standing.line([make_block("original@all"), failed, slower], "r", "x") == "r: x, original@all leads"


def test_without_an_original_the_leader_is_only_named() -> None:
    blocks = [make_block("a@all", 0, [5.0]), make_block("b@all", 0, [4.0])]
    assert Standing([]).line(blocks, "r", "x") == "r: x, b@all leads"


@pytest.mark.parametrize(
    ("conditions", "warmest"),
    [
        ({}, None),
        ({"temperature_c": None}, None),
        ({"temperature_c": {"a": "hot"}}, None),
        ({"temperature_c": {"a": 40, "b": 41.5}}, 41.5),
    ],
)
def test_the_warmest_sensor_counts(conditions: dict[str, Any], warmest: float | None) -> None:
    assert degrees(conditions) == warmest
