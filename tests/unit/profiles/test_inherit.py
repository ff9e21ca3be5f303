"""`extends`, as a rule over tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeopt.errors import ConfigError
from edgeopt.profiles.inherit import inherited, merged

NAMES = st.sampled_from(["a", "b", "c", "d"])
TABLES = st.recursive(
    st.dictionaries(NAMES, st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | st.integers(), max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, NAMES | st.none() | st.integers(), min_size=1), st.booleans())
def test_any_chain_ends_with_a_table_or_a_sentence(chain: dict[str, Any], behind: bool) -> None:
    """Whoever extends whom; with built-in profiles behind those of the same names, or without."""
    files = {name: (Path(f"/own/{name}.toml"), *([Path(f"/built/{name}.toml")] if behind else [])) for name in chain}

    def read(path: Path) -> dict[str, Any]:
        base = chain[path.stem] if path.parent.name == "own" else None
        return {"is": str(path), "aliases": [path.stem]} | ({} if base is None else {"extends": base})

    for name in chain:
        try:
            table = inherited(name, read, files)
        except ConfigError:
            continue
        assert (table["name"], table["is"], table["aliases"]) == (name, f"/own/{name}.toml", [name])
        assert "extends" not in table


@given(TABLES, TABLES)
def test_merging_goes_by_key(low: dict[str, Any], top: dict[str, Any]) -> None:
    """Nothing above changes nothing; every key of both is there, and what is above counts."""
    assert merged(low, {}) == low
    assert merged({}, top) == top
    assert merged(low, low) == low
    assert set(merged(low, top)) == set(low) | set(top)
    both = merged(low, top)
    assert all(both[key] == value for key, value in top.items() if not isinstance(value, dict))


def test_a_table_above_a_value_replaces_it_and_a_value_a_table() -> None:
    assert merged({"match": 4}, {"match": {"a": 1}}) == {"match": {"a": 1}}
    assert merged({"match": {"a": 1}}, {"match": 4}) == {"match": 4}
    assert merged({"match": {"a": 1, "b": 2}}, {"match": {"b": 3}}) == {"match": {"a": 1, "b": 3}}
