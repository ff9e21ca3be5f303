"""What edgeopt writes as TOML reads back equal."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.profiles.toml_text import toml_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCALARS = (
    st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)


@given(SCALARS | st.lists(SCALARS))
def test_a_value_reads_back_equal(value: Any) -> None:
    """Every string with its controls and quotes, every finite number."""
    assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf"), ["a", "\udfff"]])
def test_what_toml_cannot_hold_is_refused(value: Any) -> None:
    """Rather than written wrongly."""
    with pytest.raises(ValueError):  # the type is the contract
        toml_value(value)
