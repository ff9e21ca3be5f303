"""A damaged student learns from its teacher without labels."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from edgeopt.compiler.refuse import Refused  # noqa: E402
from edgeopt.compiler.runtime import open_session  # noqa: E402
from edgeopt.compiler.train import checkpoint, loop, recover  # noqa: E402
from edgeopt.compiler.train.recover import Place, Wishes  # noqa: E402
from tests.models import value, weights  # noqa: E402
from tests.unit.compiler.train.networks import damaged, feeds, pictures, small_net  # noqa: E402

QUICK = Wishes(steps=60, learning_rate=2e-2)


def test_a_student_comes_nearer_on_samples_that_nobody_saw(tmp_path: Path) -> None:
    """Not only on those that chose the checkpoint."""
    teacher = small_net()
    student = damaged(teacher)

    made, notes = recover.recover(student, teacher, pictures(96, tmp_path), QUICK)

    unseen = list(pictures(64, tmp_path, seed=7))
    assert distance(made, teacher, unseen) < 0.3 * distance(student, teacher, unseen)
    assert notes[0].startswith("trained: 60 steps on 72 samples without labels, on the CPU: agreement ")


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    """On one computer."""
    teacher = small_net()
    student, samples = damaged(teacher), pictures(40, tmp_path)
    short = Wishes(steps=20, learning_rate=2e-2)

    one, _ = recover.recover(student, teacher, samples, short)
    two, _ = recover.recover(student, teacher, samples, short)
    other, _ = recover.recover(student, teacher, samples, Wishes(steps=20, learning_rate=2e-2, seed=1))

    assert one.SerializeToString() == two.SerializeToString() != other.SerializeToString()


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two checkpoints, so that some steps are done twice."""
    teacher = small_net()
    student, samples = damaged(teacher), pictures(40, tmp_path)
    whole, _ = recover.recover(student, teacher, samples, QUICK, Place(folder=tmp_path / "whole"))
    step, seen = loop._step, []

    def killed(setup: Any, optimiser: Any, outcome: Any) -> float:
        seen.append(outcome.step)
        if outcome.step == 37:
            raise KeyboardInterrupt
        return step(setup, optimiser, outcome)

    monkeypatch.setattr(loop, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        recover.recover(student, teacher, samples, QUICK, Place(folder=tmp_path / "killed"))
    monkeypatch.setattr(loop, "_step", lambda *args: seen.append(args[2].step) or step(*args))
    resumed, _ = recover.recover(student, teacher, samples, QUICK, Place(folder=tmp_path / "killed"))

    assert seen.index(30, 35) == 38
    assert resumed.SerializeToString() == whole.SerializeToString()


def test_a_student_of_other_names_is_compared_by_the_places_of_its_answers(tmp_path: Path) -> None:
    """Its own network, with its own words: logits, and last features of the same shape."""
    teacher = small_net()
    student = damaged(teacher)
    for node in student.graph.node:
        node.input[:] = [name if name in ("x", "shape") or name[0] in "wb" else f"my_{name}" for name in node.input]
        node.output[:] = [f"my_{name}" for name in node.output]
    student.graph.output[0].name = "my_y"

    made, notes = recover.recover(student, teacher, pictures(40, tmp_path), QUICK)

    assert notes[0].startswith("trained: 60 steps")
    assert [output.name for output in made.graph.output] == ["my_y"]


def test_what_no_answer_that_can_be_compared_depends_on_is_left_alone(tmp_path: Path) -> None:
    """The weights behind a class number: they have no gradient, and are written back as they were."""
    teacher = small_net()
    teacher.graph.initializer.append(weights("w4", 12, 4))
    teacher.graph.node.append(onnx.helper.make_node("MatMul", ["f", "w4"], ["m"], name="side"))
    teacher.graph.node.append(onnx.helper.make_node("ArgMax", ["m"], ["picked"], axis=1, name="pick"))
    teacher.graph.output.append(value("picked", [1, 1], onnx.TensorProto.INT64))
    student, place = damaged(teacher), Place(folder=tmp_path / "training")

    made, notes = recover.recover(student, teacher, pictures(40, tmp_path), QUICK, place)

    assert notes[0].startswith("trained: 60 steps")
    before, after = ({t.name: t.raw_data for t in m.graph.initializer} for m in (student, made))
    assert [name for name in before if before[name] == after[name]] == ["shape", "w4"]


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    """Cut short, it is not read; one that is whole comes back as it was, whatever its names."""
    checkpoint.save(tmp_path, {"a/b:0": np.arange(3.0)}, {"step": 4})
    arrays, record = checkpoint.load(tmp_path) or ({}, {})
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:-30])

    assert arrays["a/b:0"].tolist() == [0, 1, 2]
    assert record == {"step": 4}
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "nowhere") is None


def test_a_student_that_cannot_be_helped_stays_as_it_was(tmp_path: Path) -> None:
    """A student that answers as its teacher does already has nothing to learn."""
    teacher = small_net()

    made, notes = recover.recover(teacher, teacher, pictures(40, tmp_path), Wishes(steps=10, learning_rate=2e-2))

    assert made.SerializeToString() == teacher.SerializeToString()
    assert "so it stays as it was" in notes[0]


def test_steps_that_are_too_long_become_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that finds nothing gained begins anew; killed behind it, it goes on to the same bytes."""
    monkeypatch.setattr(loop, "LEAST_AT_A_RATE", 10)
    teacher = small_net()
    student, samples = damaged(teacher, 0.1), pictures(40, tmp_path)
    long = Wishes(steps=60, learning_rate=0.2)
    made, notes = recover.recover(student, teacher, samples, long)

    assert "trained: 60 steps (from " in notes[0]
    assert "times shorter)" in notes[0]

    step = loop._step
    monkeypatch.setattr(loop, "_step", lambda *args: step(*args) if args[2].step < 35 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recover.recover(student, teacher, samples, long, Place(folder=tmp_path / "killed"))
    monkeypatch.setattr(loop, "_step", step)
    resumed, _ = recover.recover(student, teacher, samples, long, Place(folder=tmp_path / "killed"))
    assert resumed.SerializeToString() == made.SerializeToString()

    unseen = list(pictures(64, tmp_path, seed=7))
    assert distance(made, teacher, unseen) < distance(student, teacher, unseen)


def test_steps_that_wander_are_worth_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate that never comes down: time is up long before the last step."""
    teacher = small_net()
    student, step, unseen = damaged(teacher), loop._step, list(pictures(64, tmp_path, seed=7))
    left = []
    for seed in range(3):
        done: list[Any] = []
        monkeypatch.setattr(loop, "_step", lambda *args, done=done: done.append(args[2]) or step(*args))
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda done=done: float(len(done))))
        wishes = Wishes(steps=1000, learning_rate=0.1, seed=seed)
        made, _ = recover.recover(student, teacher, pictures(96, tmp_path), wishes, Place(deadline=79.5))
        left.append(distance(made, teacher, unseen))

    assert np.mean(left) < 0.5 * distance(student, teacher, unseen)


def test_what_no_steps_bring_nearer_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is right already; after four rates it is enough."""
    monkeypatch.setattr(loop, "LEAST_AT_A_RATE", 10)
    teacher = small_net()

    _, notes = recover.recover(teacher, teacher, pictures(40, tmp_path), Wishes(steps=100, learning_rate=2e-2))

    assert "did not bring it nearer to the original (80 steps" in notes[0]
    assert notes[1].endswith("it came no nearer by smaller steps either, until step 80 of 100")


def test_a_loss_that_is_no_number_ends_training_and_keeps_what_was_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note says when; the graph is that of the best look before."""
    teacher = small_net()
    student, step = damaged(teacher), loop._step
    monkeypatch.setattr(loop, "_step", lambda *args: math.nan if args[2].step == 25 else step(*args))

    made, notes = recover.recover(student, teacher, pictures(40, tmp_path), QUICK)

    assert (
        notes[1] == "training stopped early: the loss was no number any more at step 26; the best until then was kept"
    )
    assert "trained: 25 steps" in notes[0]
    assert distance(made, teacher, list(pictures(8, tmp_path, seed=3))) < distance(
        student, teacher, list(pictures(8, tmp_path, seed=3))
    )


def test_training_ends_by_itself_before_its_time_is_up(tmp_path: Path) -> None:
    """A deadline that has passed lets one step through, and says so."""
    teacher = small_net()

    _, notes = recover.recover(
        damaged(teacher), teacher, pictures(40, tmp_path), QUICK, Place(deadline=time.monotonic())
    )

    assert "its time was up after step 1 of 60" in notes[1]


def test_what_was_learned_since_the_last_look_is_not_lost_when_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand steps the first look is at the hundredth; a large network on a slow computer never gets there."""
    teacher = small_net()
    student, step, done = damaged(teacher), loop._step, []
    monkeypatch.setattr(loop, "_step", lambda *args: done.append(args[2]) or step(*args))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(len(done))))

    made, notes = recover.recover(
        student, teacher, pictures(40, tmp_path), Wishes(steps=1000, learning_rate=2e-2), Place(deadline=24.5)
    )

    assert notes[0].startswith("trained: 25 steps")
    assert "its time was up after step 25 of 1000" in notes[1]
    unseen = list(pictures(8, tmp_path, seed=3))
    assert distance(made, teacher, unseen) < distance(student, teacher, unseen)


def test_too_few_samples_are_no_ground_to_learn_on(tmp_path: Path) -> None:
    """The student stays as it came."""
    teacher = small_net()

    made, notes = recover.recover(damaged(teacher), teacher, pictures(10, tmp_path), QUICK)

    assert notes == ["not trained: 10 samples are too few to learn from and to judge by (24 at least)"]
    assert made.SerializeToString() == damaged(teacher).SerializeToString()


def test_numbers_that_are_no_classes_are_matched_by_their_error(tmp_path: Path) -> None:
    """Without a softmax and with no task known."""
    teacher = small_net(softmax=False)

    _, notes = recover.recover(damaged(teacher), teacher, pictures(60, tmp_path), QUICK)

    assert "of the mean square; error" in notes[0]


def test_samples_of_another_size_are_refused(tmp_path: Path) -> None:
    """In the runtime's words."""
    teacher = small_net()
    small = feeds({"x": np.zeros((30, 1, 3, 8, 8), np.float32)}, tmp_path)

    with pytest.raises(Refused, match="does not take the samples"):
        recover.recover(damaged(teacher), teacher, small, QUICK)


def test_memory_that_runs_out_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In torch's words or ours, it is a MemoryError, which the child puts into a sentence."""
    words = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"

    def full(*_args: Any) -> float:
        raise RuntimeError(words)

    monkeypatch.setattr(loop, "_step", full)
    with pytest.raises(MemoryError):
        recover.recover(damaged(small_net()), small_net(), pictures(40, tmp_path), QUICK)


def test_a_gpu_that_is_too_small_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out."""

    def full(*_args: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(loop, "_step", full)
    with pytest.raises(Refused, match="EDGEOPT_TORCH_DEVICE=cpu trains on the CPU"):
        recover.recover(damaged(small_net()), small_net(), pictures(40, tmp_path), QUICK)


def test_a_device_that_is_not_there_is_told_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user set, and that it cannot be."""
    monkeypatch.setenv("EDGEOPT_TORCH_DEVICE", "cuda:7")

    with pytest.raises(Refused, match="EDGEOPT_TORCH_DEVICE is 'cuda:7', and torch cannot use that here"):
        recover.recover(damaged(small_net()), small_net(), pictures(40, tmp_path), QUICK)


def test_curves_are_written_where_the_user_wants_them(tmp_path: Path) -> None:
    """A line for each step."""
    teacher = small_net()
    recover.recover(damaged(teacher), teacher, pictures(40, tmp_path), Wishes(steps=10), Place(curves=tmp_path / "c"))

    lines = (tmp_path / "c" / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,loss,distance,agreement"
    assert len(lines) == 11
    assert float(lines[1].split(",")[1]) > 0


def distance(model: onnx.ModelProto, teacher: onnx.ModelProto, samples: list[Any]) -> float:
    """Mean divergence of the answers."""
    answers = [
        np.concatenate([session.run(None, sample)[0] for sample in samples]).astype(np.float64) + 1e-9
        for session in (open_session(m.SerializeToString()) for m in (teacher, model))
    ]
    return float((answers[0] * np.log(answers[0] / answers[1])).sum(1).mean())
