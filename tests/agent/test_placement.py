"""A runtime's profile says which provider ran which node."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent.runtimes import placement


def event(
    name: str, provider: str | None = "CPUExecutionProvider", category: str = "Node", kind: str = "Conv"
) -> dict[str, Any]:
    arguments = {"op_name": kind} if provider is None else {"op_name": kind, "provider": provider}
    return {"cat": category, "name": name, "args": arguments}


def test_nodes_are_counted_by_provider_and_kind_and_each_once() -> None:
    events = [
        event("model_loading", category="Session"),
        event("a_fence_before"),
        event("a_kernel_time"),
        event("a_kernel_time"),
        event("b_kernel_time", "CUDAExecutionProvider"),
        event("c_kernel_time", kind="QLinearConv"),
        event("d_kernel_time", None),
    ]
    assert placement.parse_profile(json.dumps(events)) == {
        "CPUExecutionProvider": {"Conv": 1, "QLinearConv": 1},
        "CUDAExecutionProvider": {"Conv": 1},
    }


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[1, null, []]", '[{"cat": "Node", "name": "a_kernel_time", "args": []}]']
)
def test_what_names_no_node_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        placement.parse_profile(text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["cat", "name", "args", "provider"]), inner),
    )
)
def test_any_json_is_read_or_refused(document: Any) -> None:
    with contextlib.suppress(ValueError):
        placement.parse_profile(json.dumps(document))


class Profiled:
    def __init__(self, path: Path) -> None:
        self._path = path

    def end_profiling(self) -> str:
        return str(self._path)


def test_the_profile_is_removed_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    for text in (json.dumps([event("a_kernel_time")]), "nothing"):
        path.write_text(text)
        counts, reason = placement.of_session(Profiled(path))
        assert (counts is None) != (reason is None)
        assert not path.exists()


def test_a_runtime_without_profiles_gives_a_reason() -> None:
    counts, reason = placement.of_session(object())
    assert counts is None
    assert "AttributeError" in (reason or "")
