"""Each objective is a loss that falls when the student comes nearer to its teacher, and steps aside where it does not apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")

from edgeopt.compiler.train import recover  # noqa: E402
from edgeopt.compiler.train.compared import compared  # noqa: E402
from edgeopt.compiler.train.data import generator, stacked  # noqa: E402
from edgeopt.compiler.train.lessons import Lessons  # noqa: E402
from edgeopt.compiler.train.objectives import OBJECTIVES  # noqa: E402
from edgeopt.compiler.train.objectives.mimic import mimic  # noqa: E402
from edgeopt.compiler.train.objectives.scene import Scene  # noqa: E402
from edgeopt.compiler.train.objectives.tokens import replaced  # noqa: E402
from edgeopt.compiler.train.recover import Wishes  # noqa: E402
from edgeopt.compiler.train.trainable import let_train  # noqa: E402
from edgeopt.compiler.train.twin import Twin  # noqa: E402
from tests.models import make, value, weights  # noqa: E402
from tests.unit.compiler.train.networks import damaged, feeds, pictures, small_net  # noqa: E402

WORDS, WIDTH, PLACES = 40, 16, 10


def attention_net() -> ModelProto:
    """Embedding, one head of attention with a residual and a norm, logits for each place: ids [batch, 10] -> [batch, 10, 40]."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="embed"),
        *(helper.make_node("MatMul", ["e", f"w{n}"], [n], name=f"project_{n}") for n in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1], name="turn"),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], name="scores"),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"], name="scale"),
        helper.make_node("Softmax", ["scaled"], ["attention"], axis=-1, name="softmax"),
        helper.make_node("MatMul", ["attention", "v"], ["mixed"], name="mix"),
        helper.make_node("Add", ["mixed", "e"], ["sum"], name="residual"),
        helper.make_node("LayerNormalization", ["sum", "gain", "shift"], ["h"], axis=-1, name="norm"),
        helper.make_node("MatMul", ["h", "head"], ["y"], name="head"),
    ]
    constants = [
        weights("table", WORDS, WIDTH, scale=1.0),
        *(weights(f"w{n}", WIDTH, WIDTH, scale=0.4) for n in "qkv"),
        numpy_helper.from_array(np.array(0.25, np.float32), "scale"),
        numpy_helper.from_array(np.ones(WIDTH, np.float32), "gain"),
        weights("shift", WIDTH),
        weights("head", WIDTH, WORDS, scale=0.5),
    ]
    ids = value("ids", ["batch", PLACES], TensorProto.INT64)
    return make(nodes, [ids], [value("y", ["batch", PLACES, WORDS])], constants)


def texts(count: int, folder: Path) -> Any:
    ids = np.random.default_rng(0).integers(0, WORDS, (count, 1, PLACES))
    return feeds({"ids": ids}, folder)


def scene(
    teacher: ModelProto, student: ModelProto, samples: Any, task: str | None, lessons: Lessons
) -> tuple[Scene, Twin]:
    """Both networks on all samples."""
    rows = list(samples)
    one, two = Twin(teacher).requires_grad_(False), Twin(student)
    what = compared(one, two, stacked(rows[:1]), task=task)
    lessons.prepare(one, two, what, rows, 8)
    first, second = ((*what.wanted, *more) for more in lessons.names)
    batch = stacked(rows)
    made = Scene(
        feeds=batch,
        compared=what,
        teacher=one(batch, first),
        student=two(batch, second),
        run_teacher=lambda f: one(f, first),
        run_student=lambda f: two(f, second),
        random=generator(0),
        anchors=lessons.anchors,
        attention=lessons.attention,
    )
    return made, two


@pytest.mark.parametrize("name", ["masked", "nce", "seed"])
def test_objectives_of_pictures_fall_where_a_student_is_nearer(name: str, tmp_path: Path) -> None:
    """The teacher itself has less than a student with noise in it."""
    teacher, samples = small_net(), pictures(16, tmp_path)
    near, far = (
        float(OBJECTIVES[name][1](scene(teacher, student, samples, "classification", Lessons([name]))[0]).detach())
        for student in (damaged(teacher, 0.02), damaged(teacher, 1.0))
    )

    assert near < far


@pytest.mark.parametrize("name", ["mlm", "clm", "plm", "minilm"])
def test_objectives_of_texts_fall_where_a_student_is_nearer(name: str, tmp_path: Path) -> None:
    """A student that is the teacher has none of it."""
    teacher, samples = attention_net(), texts(16, tmp_path)
    same, near, far = (
        float(OBJECTIVES[name][1](scene(teacher, student, samples, "tokens", Lessons([name]))[0]).detach())
        for student in (teacher, damaged(teacher, 0.1), damaged(teacher, 1.0))
    )

    assert same == pytest.approx(0, abs=1e-5)
    assert near < far


def test_an_objective_steps_aside_where_it_does_not_apply(tmp_path: Path) -> None:
    """Tokens of pictures, pictures of tokens; and the note says which."""
    seen, _ = scene(small_net(), small_net(), pictures(4, tmp_path), "classification", Lessons(["minilm"]))
    assert [name for name in ("mlm", "clm", "plm", "minilm") if OBJECTIVES[name][1](seen) is not None] == []

    read, _ = scene(attention_net(), attention_net(), texts(4, tmp_path), "tokens", Lessons())
    assert [name for name in ("masked", "nce", "seed") if OBJECTIVES[name][1](read) is not None] == []

    wishes = Wishes(steps=10, task="classification", objectives=("mlm", "seed"))
    _, notes = recover.recover(damaged(small_net()), small_net(), pictures(40, tmp_path), wishes)
    assert "not for this network: mlm" in notes


def test_what_is_compared_follows_from_the_ends_of_the_graph() -> None:
    """Logits before a softmax, or of a classifier without one; values of anything else, and of a single class."""
    sample = {"x": torch.zeros(1, 3, 16, 16)}

    def ends(model: ModelProto, task: str | None) -> Any:
        twin = Twin(model)
        return compared(twin, twin, sample, task=task)

    usual = ends(small_net(), None)
    assert (usual.logits, usual.values, usual.last, usual.blocks) == ((("g", 1),), (), "r2", ("s",))
    assert ends(small_net(softmax=False), "classification").logits == (("y", -1),)
    assert ends(small_net(softmax=False), None).values == ("y",)

    lone = make(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Flatten", ["m"], ["y"]),
        ],
        [value("x", [1, 3, 16, 16])],
        [value("y", [1, 1])],
    )
    assert ends(lone, "classification").values == ("y",)


def test_hidden_tokens_are_others_of_the_same_texts() -> None:
    """And only at the places that are hidden."""
    ids = torch.arange(40).reshape(4, 10)
    where = torch.zeros(4, 10, dtype=torch.bool)
    where[:, 3] = True

    made = replaced(ids, where, generator(0))

    assert bool((made == ids)[~where].all())
    assert not bool((made == ids)[where].all())


def test_a_text_network_recovers_by_its_own_words(tmp_path: Path) -> None:
    """All of the objectives for texts together, weights learned."""
    teacher = attention_net()
    wishes = Wishes(
        steps=20, learning_rate=1e-2, task="tokens", objectives=("minilm", "mlm", "clm", "plm", "multitask")
    )

    _, notes = recover.recover(damaged(teacher, 0.3), teacher, texts(60, tmp_path), wishes)

    assert notes[0].startswith("trained: 20 steps")
    assert len(notes) == 1


def test_an_objective_that_pulls_against_mimicry_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gradient opposes: the step is mimicry's alone. One that goes along is added."""
    teacher = small_net()
    student, samples = damaged(teacher), pictures(8, tmp_path)

    def gradient(objective: Any) -> Any:
        if objective is not None:
            monkeypatch.setitem(OBJECTIVES, "seed", (1.0, objective))
        lessons = Lessons(["seed", "multitask"] if objective is not None else [])
        seen, twin = scene(teacher, student, samples, "classification", lessons)
        parameters = let_train(twin, "all", seed=0)
        lessons.learn(seen, share=1.0, parameters=parameters)
        return parameters["w1"].grad

    alone = gradient(None)
    assert torch.equal(gradient(lambda s: -mimic(s)), alone)
    assert torch.allclose(gradient(mimic), 2 * alone, rtol=1e-4)
