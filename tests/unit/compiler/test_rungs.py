"""The folder of rungs: complete or absent, bounded, and never taken away from under who uses it."""

from __future__ import annotations

import os

import pytest

from edgeopt.compiler import rungs
from edgeopt.compiler.rungs import RungCache


def keep(cache, folder, key, content=b"graph", **told):
    place = folder / f"made-{key}"
    place.mkdir(exist_ok=True)
    (place / "model.onnx").write_bytes(content)
    cache.keep(key, place, **({"notes": ["widened"], "build_s": 2.5, "peak_memory_bytes": 7} | told))


@pytest.fixture
def cache(tmp_path):
    return RungCache(tmp_path / "cache")


def test_what_is_kept_is_taken(cache, tmp_path):
    assert not cache.has("k")
    assert cache.take("k", tmp_path / "none") is None
    keep(cache, tmp_path, "k")
    assert cache.has("k")
    kept = cache.take("k", tmp_path / "mine")
    assert (kept.notes, kept.build_s, kept.peak_memory_bytes) == (("widened",), 2.5, 7)
    assert (tmp_path / "mine" / "model.onnx").read_bytes() == b"graph"


def test_who_comes_second_leaves_what_is_there(cache, tmp_path):
    keep(cache, tmp_path, "k", build_s=1.0)
    keep(cache, tmp_path, "k", build_s=9.0)
    assert cache.take("k", tmp_path / "mine").build_s == 1.0


@pytest.mark.parametrize("damage", ["changed", "missing", "record", "no record"])
def test_a_damaged_rung_is_removed(cache, tmp_path, damage):
    keep(cache, tmp_path, "k")
    folder = cache.rungs / "k"
    match damage:
        case "changed":
            (folder / "model.onnx").write_bytes(b"Graph")
        case "missing":
            (folder / "model.onnx").unlink()
        case "record":
            (folder / "rung.json").write_text("{")
        case _:
            (folder / "rung.json").unlink()
    assert cache.take("k", tmp_path / "mine") is None
    assert not (tmp_path / "mine").exists()
    assert not folder.exists()
    keep(cache, tmp_path, "k")
    assert cache.take("k", tmp_path / "mine") is not None


def test_the_ones_not_used_for_longest_go_when_there_is_too_much(cache, tmp_path, monkeypatch):
    """What was just made stays, whatever its size."""
    monkeypatch.setattr(rungs, "MAX_BYTES", 2500)
    for age, key in enumerate(("a", "b"), 1):
        keep(cache, tmp_path, key, b"x" * 800)
        os.utime(cache.rungs / key / "rung.json", (age, age))
    assert cache.take("a", tmp_path / "used") is not None
    keep(cache, tmp_path, "c", b"x" * 800)
    assert {folder.name for folder in cache.rungs.iterdir()} == {"a", "c"}
    keep(cache, tmp_path, "d", b"x" * 9000)
    assert [folder.name for folder in cache.rungs.iterdir()] == ["d"]
    assert list(cache.work.iterdir()) == []
    assert (tmp_path / "used" / "model.onnx").read_bytes() == b"x" * 800


def test_links_of_a_child_are_not_kept(cache, tmp_path):
    place = tmp_path / "made"
    place.mkdir()
    (tmp_path / "secret").write_text("secret")
    (place / "model.onnx").write_bytes(b"graph")
    (place / "link").symlink_to(tmp_path / "secret")
    cache.keep("k", place, notes=[], build_s=0.0, peak_memory_bytes=None)
    assert [file.path for file in cache.take("k", tmp_path / "mine").files] == ["model.onnx"]


def test_a_file_system_without_links_gets_copies(cache, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError

    keep(cache, tmp_path, "k")
    monkeypatch.setattr(os, "link", refuse)
    assert cache.take("k", tmp_path / "mine") is not None
    assert (tmp_path / "mine" / "model.onnx").read_bytes() == b"graph"
