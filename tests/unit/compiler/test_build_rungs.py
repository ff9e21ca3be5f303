"""What several variants have in common is made once, and comes out the same: real steps, real children."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from edgeopt.compiler import build_one
from edgeopt.compiler.build import build_variants
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.device import Profile
from edgeopt.domain.observer import Silent
from edgeopt.domain.variant import Built, Skipped
from tests import models
from tests.unit.compiler.quantize import nets

PROFILE = Profile(name="board", title="A board", arch="aarch64", int8_encoding="u8s8", recipes=("int8-static",))
ARM = msgspec.structs.replace(PROFILE, int8_encoding="s8s8")
IMAGES = models.noise("x", 1, 3, 8, 8, count=16)
PREFIX = ["clean", "float32", "upgrade_opset", "same_answers"]
WRITE = ["emit_qdq", "int8_tables"]


@pytest.fixture
def children(monkeypatch):
    """The steps that each child was asked for, in the order in which they began."""
    asked = []

    def run(task, request, **options):
        asked.append([step["name"] for step in request["steps"]])
        return confined(task, request, **options)

    confined = build_one.run_confined
    monkeypatch.setattr(build_one, "run_confined", run)
    return asked


@pytest.fixture
def path(tmp_path):
    return models.save(nets.classifier(), tmp_path / "net.onnx")


def build(path, cache, *recipes, profile=PROFILE, samples=IMAGES, **options):
    model = inspect_model(path)
    planned = plan_variants(model, profile, recipes=recipes, has_samples=True, budget=options.pop("budget", "instant"))
    made = build_variants(planned, model_path=path, model=model, calibration=samples, cache=cache, **options)
    return {variant.name: variant for variant in made}


def digests(made):
    return {name: variant.digest for name, variant in made.items() if isinstance(variant, Built)}


def notes(made):
    return {name: variant.notes for name, variant in made.items() if isinstance(variant, Built)}


def test_one_variant_is_one_child(path, tmp_path, children):
    build(path, tmp_path / "cache", "int8-static")
    assert children == [[], [*PREFIX, "calibrate", *WRITE]]


def test_two_variants_share_the_tidy_graph(path, tmp_path, children):
    made = build(path, tmp_path / "cache", "int8-static", "int8-stem")
    assert children == [[], PREFIX, ["calibrate", *WRITE], ["calibrate", *WRITE]]
    assert all(isinstance(variant, Built) for variant in made.values())


def test_mixed_begins_from_what_static_was_calibrated_to(path, tmp_path, children):

    build(path, tmp_path / "cache", "int8-static", "int8-mixed")
    assert children[:2] == [[], [*PREFIX, "calibrate"]]
    assert sorted(children[2:]) == [WRITE, ["leave_float", *WRITE]]


def test_another_encoding_costs_no_calibration_and_is_what_it_would_be_by_itself(path, tmp_path, children):
    build(path, tmp_path / "cache", "int8-static")
    children.clear()
    second = build(path, tmp_path / "cache", "int8-static", profile=ARM)
    assert children == [WRITE]
    alone = build(path, tmp_path / "other", "int8-static", profile=ARM)
    assert digests(second) == digests(alone)
    assert notes(second) == notes(alone)
    assert not second["int8-static"].cached


@pytest.mark.parametrize(
    "given", [{"budget": "standard"}, {"recipes": ("int8-stem",)}, {"recipes": ("int8-ort",)}], ids=str
)
def test_what_was_changed_behind_the_tidy_graph_begins_there(path, tmp_path, children, given):
    build(path, tmp_path / "cache", "int8-static")
    children.clear()
    build(path, tmp_path / "cache", *given.get("recipes", ("int8-static",)), budget=given.get("budget", "instant"))
    assert len(children) == 1
    assert not set(children[0]) & set(PREFIX)


def test_other_samples_begin_from_the_original(path, tmp_path, children):
    build(path, tmp_path / "cache", "int8-static")
    children.clear()
    build(path, tmp_path / "cache", "int8-static", samples=models.noise("x", 1, 3, 8, 8, count=16, seed=3))
    assert children == [[*PREFIX, "calibrate", *WRITE]]


def test_from_the_cache_or_not_the_bytes_and_remarks_are_the_same(path, tmp_path):
    """Together, one after the other, and with what was kept taken away in between."""
    names = ("int8-static", "int8-stem", "int8-ort")
    together = build(path, tmp_path / "together", *names)
    single = {}
    for name in names:
        single |= build(path, tmp_path / "single", name)
        for kept in sorted((tmp_path / "single" / "rungs").iterdir())[:1]:
            shutil.rmtree(kept)
    assert digests(together) == digests(single)
    assert notes(together) == notes(single)


def test_seconds_count_what_the_rungs_took(path, tmp_path):
    first = build(path, tmp_path / "cache", "int8-static")["int8-static"]
    second = build(path, tmp_path / "cache", "int8-static", profile=ARM)["int8-static"]
    assert second.build_s > 0.2 * first.build_s
    assert int(second.provenance["build_peak_memory_bytes"]) > 0


def test_a_rung_that_cannot_be_made_is_tried_once_and_every_variant_says_why(path, tmp_path, children):
    made = build(
        path, tmp_path / "cache", "int8-static", "int8-stem", "clean", samples=models.noise("x", 1, 4, 8, 8, count=16)
    )
    assert children.count(PREFIX) == 1
    assert len(children) == 3
    assert isinstance(made["int8-static"], Skipped)
    assert made["int8-static"].reason == made["int8-stem"].reason
    assert isinstance(made["original"], Built)


def test_what_children_do_is_told(path, tmp_path):
    """By the names of those that wait for it."""

    class Told(Silent):
        def __init__(self):
            self.details = []

        def advance(self, name, done, detail=""):
            assert name == "build"
            self.details.append(detail)

    told = Told()
    samples = models.noise("x", 1, 3, 8, 8, count=400)
    build(path, tmp_path / "cache", "int8-static", "int8-stem", budget="standard", samples=samples, observer=told)
    words = " ".join(told.details)
    assert "int8-static, int8-stem: " in words
    assert any(each in words for each in ("ranges", "statistics", "rounding", "bias correction", "judging"))
    assert set(told.details) >= {"original", "int8-static", "int8-stem"}
