"""The folder of built variants: complete or absent, and keyed by all that matters."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeopt.compiler.cache import VariantCache, variant_key
from edgeopt.compiler.plan import Pins
from edgeopt.compiler.recipes import CLEAN, FP16

PINS = Pins(max_opset=21, max_ir_version=10)
ANSWER = {
    "files": ["model.onnx"],
    "graph_digest": "g",
    "notes": [],
    "confinement": {"wall_s": 1.0, "peak_memory_bytes": 1, "network": "none"},
}


def fill(folder: Path, content: bytes = b"graph") -> None:
    (folder / "model.onnx").write_bytes(content)


def test_who_comes_second_takes_what_is_there(tmp_path):
    """Two processes that build the same variant at once."""
    cache = VariantCache(tmp_path)
    with cache.room("k") as first, cache.room("k") as second:
        fill(first)
        fill(second)
        kept = cache.keep("k", first, "clean", CLEAN, ANSWER)
        assert not kept.cached
        taken = cache.keep("k", second, "clean", CLEAN, ANSWER)
    assert taken.cached
    assert taken.digest == kept.digest
    assert [folder.name for folder in cache.variants.iterdir()] == ["k"]
    assert list(cache.work.iterdir()) == []


def test_a_place_that_cannot_be_taken_is_an_error(tmp_path):
    cache = VariantCache(tmp_path)
    with cache.room("k") as folder:
        fill(folder)
        (cache.variants / "k").write_text("in the way")
        with pytest.raises(OSError, match="k"):
            cache.keep("k", folder, "clean", CLEAN, ANSWER)


def test_a_failed_build_leaves_nothing(tmp_path):
    cache = VariantCache(tmp_path)
    with pytest.raises(ZeroDivisionError), cache.room("k"):
        raise ZeroDivisionError
    assert list(cache.work.iterdir()) == []
    assert cache.find("k", "clean", CLEAN) is None


def test_the_key_covers_all_that_a_variant_is_made_from():
    keys = {
        variant_key("m", CLEAN, PINS, None),
        variant_key("n", CLEAN, PINS, None),
        variant_key("m", FP16, PINS, None),
        variant_key("m", CLEAN, msgspec.structs.replace(PINS, max_opset=20), None),
        variant_key("m", CLEAN, PINS, "s"),
    }
    assert len(keys) == 5
    assert variant_key("m", CLEAN, PINS, None) in keys
