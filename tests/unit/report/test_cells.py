"""Values as short text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.report.cells import at_least, figure, interval, megabytes, percent, safe, times


@given(st.text())
def test_safe_text_is_one_printable_line(text: str) -> None:
    """No control character, line break, bidirectional override or lone surrogate comes out."""
    assert safe(text).isprintable()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_safe_leaves_ordinary_text_alone(text: str) -> None:
    assert safe(text) == text


def test_safe_disarms_an_escape_sequence() -> None:
    assert safe("a\x1b[31mb\x9bK\nc\u202ed\ud800") == "a[31mbK cd"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
        (0.00512, "0.0051"),
        (5.0, "5.000"),
        (-31.5, "-31.50"),
        (99.994, "99.99"),
        (123.45, "123.5"),
        (12345.6, "12346"),
    ],
)
def test_figure_has_about_four_digits_and_no_exponent(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (1.0, "100.00"),
        (0.99999, "99.99"),
        (0.9999, "99.99"),
        (0.0, "0.00"),
        (0.29, "29.00"),
        (-0.12345, "-12.35"),
    ],
)
def test_percent_is_cut_so_that_only_all_is_100(share: float | None, text: str) -> None:
    assert percent(share) == text


@given(st.floats(min_value=0, max_value=1))
def test_percent_never_says_more_than_there_is(share: float) -> None:
    assert float(percent(share)) <= share * 100 + 1e-6


def test_unknown_bounds_say_nothing() -> None:
    assert interval(None, 2.0) == interval(1.0, None) == at_least(None) == ""


def test_bounds_are_written_with_the_figures_own_digits() -> None:
    assert interval(1.0, 20.0) == "1.000..20.00"
    assert at_least(0.98) == ">=98.00"


@pytest.mark.parametrize(("count", "text"), [(None, "-"), (0, "0.00"), (4_123_456, "4.12"), (81_000_000, "81.0")])
def test_megabytes_are_decimal(count: int | None, text: str) -> None:
    assert megabytes(count) == text


@pytest.mark.parametrize(("ratio", "text"), [(None, "-"), (0.0, "-"), (0.5, "2.00x"), (2.0, "0.50x")])
def test_times_turns_a_ratio_of_durations_into_speed(ratio: float | None, text: str) -> None:
    assert times(ratio) == text
