"""The few ways in which the tree is written: whole or not at all, and nothing left beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent import tree
from edgeopt_agent.arguments import files_problem, is_digest, is_file_path, is_inside, is_name


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    tree.write_file(str(path), b"one")
    tree.write_file(str(path), b"two")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"two"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in the way").mkdir()
    with pytest.raises(OSError, match="in the way"):
        tree.write_file(str(tmp_path / "in the way"), b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["in the way"]


def test_a_link_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    with pytest.raises(OSError, match="current"):
        tree.point(str(tmp_path / "current"), "releases/x")
    assert [p.name for p in tmp_path.iterdir()] == ["current"]


def test_where_links_are_impossible_content_is_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    source = other / f"edgeopt-{os.getpid()}"
    source.write_bytes(b"x" * 3_000_000)
    try:
        tree.link_or_copy(str(source), str(tmp_path / "copy"))
    finally:
        source.unlink()
    assert (tmp_path / "copy").read_bytes() == b"x" * 3_000_000


def test_a_link_is_never_made_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        tree.link_or_copy(str(tmp_path / "a"), str(tmp_path / "b"))


def test_removing_follows_no_link_and_says_what_it_freed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "a").write_bytes(b"12345")
    os.link(outside / "kept", inside / "second name")
    (inside / "link").symlink_to(outside)
    assert tree.remove_tree(str(inside)) == 5
    assert (outside / "kept").read_bytes() == b"kept"
    assert tree.remove_tree(str(inside)) == 0


def test_removing_a_tree_that_is_a_file_removes_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert tree.remove_tree(str(tmp_path / "a")) == 3


def test_a_folder_that_fails_while_it_is_built_leaves_nothing(tmp_path: Path) -> None:
    def fail(fresh: str) -> None:
        Path(fresh, "half").write_bytes(b"x")
        raise ValueError(fresh)

    with pytest.raises(ValueError, match="tmp"):
        tree.build_folder(str(tmp_path / "folder"), fail, durable=True)
    assert list(tmp_path.iterdir()) == []


def test_the_size_of_a_tree_counts_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"123")
    assert tree.tree_bytes(str(tmp_path)) == 3


@given(st.text(max_size=80))
def test_a_name_is_one_component_of_plain_ascii(text: str) -> None:
    if is_name(text):
        assert text.isascii()
        assert text not in (".", "..")
        assert not set(text) & set("/\\\0\n ")
        assert 1 <= len(text) <= 63


@given(st.text(alphabet="ab./\\\n-_é", max_size=40))
def test_a_file_path_never_leaves_its_folder(text: str) -> None:
    if is_file_path(text):
        assert os.path.normpath(f"/x/{text}") == f"/x/{text}"


@pytest.mark.parametrize("value", ["a" * 63, "A0._-", "0"])
def test_plain_names_are_names(value: str) -> None:
    assert is_name(value)


@pytest.mark.parametrize("value", ["", "a" * 64, "-a", ".a", "a\n", "\uff41", None, 1, b"a"])
def test_others_are_not(value: object) -> None:
    assert not is_name(value)


@pytest.mark.parametrize("value", ["A" * 64, "a" * 63, "a" * 64 + "\n", "g" * 64, None])
def test_a_digest_is_64_lower_case_hex_digits(value: object) -> None:
    assert not is_digest(value)
    assert is_digest("0a" * 32)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "digest", "bytes"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_value_in_the_place_of_files_is_judged_without_an_error(value: object) -> None:
    problem = files_problem(value)
    assert problem is None or problem.isprintable()


def test_inside_is_by_components(tmp_path: Path) -> None:
    assert is_inside(str(tmp_path / "a" / "b"), str(tmp_path / "a"))
    assert not is_inside(str(tmp_path / "ab"), str(tmp_path / "a"))
    assert not is_inside(str(tmp_path / "a"), str(tmp_path / "a"))
