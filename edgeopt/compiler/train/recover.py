"""Label-free recovery: a student that was made from a model (by pruning) learns to answer as the model does. Child side.

What survives must be nearer to the model on samples that it did not learn from; otherwise the student stays as it came.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeopt.compiler import progress
from edgeopt.compiler.costs import count_costs
from edgeopt.compiler.refuse import Refused, out_of_memory
from edgeopt.compiler.running import Feeds
from edgeopt.compiler.train import checkpoint
from edgeopt.compiler.train.augment import view_of
from edgeopt.compiler.train.budgets import BATCH, LEAST_SAMPLES, RECOVERY
from edgeopt.compiler.train.check import bytes_of_a_sample, check_steady, check_twin, macs_of_a_sample, most_together
from edgeopt.compiler.train.compared import compared
from edgeopt.compiler.train.curves import Curves
from edgeopt.compiler.train.data import Data, divide, stacked
from edgeopt.compiler.train.device import VARIABLE, describe, half_helps, pick_device, threads
from edgeopt.compiler.train.judge import Judge, Score
from edgeopt.compiler.train.lessons import Lessons
from edgeopt.compiler.train.loop import LEARNING_RATE, SLOWER, Outcome, Setup, train
from edgeopt.compiler.train.optimiser import macs_of_a_step
from edgeopt.compiler.train.trainable import let_train
from edgeopt.compiler.train.twin import Twin

STEP_BYTES = 1 << 30
"""Of activations that one group keeps for its gradients."""

TELL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a recovery is asked for. `budget` names one of `budgets.RECOVERY`; `steps` overrules it, and `half` what `device` says of bfloat16."""

    budget: str = "standard"
    trainable: str = "all"
    task: str | None = None
    seed: int = 0
    steps: int | None = None
    learning_rate: float = LEARNING_RATE
    objectives: tuple[str, ...] = ()
    half: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and until when. `folder` is for checkpoints of all runs, `curves` for the user to watch, `deadline` a moment of the monotonic clock."""

    deadline: float = math.inf
    folder: Path | None = None
    curves: Path | None = None


def recover(
    student: Any, teacher: Any, samples: Feeds, wishes: Wishes, place: Place | None = None
) -> tuple[Any, list[str]]:
    """Train a student graph against its teacher. Returns the graph, trained or as it came, and remarks for people.

    Args:
        student: the graph that is trained; shapes and nodes stay as they are.
        teacher: the tidy original, its tensors named alike.
        samples: unlabelled inputs, as fed to both.
        wishes: the budget, and what learns by what.
        place: see there.

    Raises:
        Refused: twin-unsupported, twin-random, twin-differs, samples-unfit, teacher-random, nothing-to-compare, gpu-memory, device-unusable.
        MemoryError: what the process may use is not enough.
    """
    place = place or Place()
    shapes = [tuple(tensor.dims) for tensor in student.graph.initializer] if wishes.trainable == "all" else []
    found = planned(teacher, samples, wishes, moving=macs_of_a_step(shapes))
    if isinstance(found, str):
        return student, [found]
    with memory_told():
        return _recovered(student, teacher, *found, wishes, place)


def planned(teacher: Any, samples: Feeds, wishes: Wishes, *, moving: int = 0) -> tuple[Data, int] | str:
    """The samples, divided, and the number of steps, each with `moving` multiplications beside those of both networks; or why nothing is trained."""
    if samples.count < LEAST_SAMPLES:
        return (
            f"not trained: {samples.count} samples are too few to learn from and to judge by ({LEAST_SAMPLES} at least)"
        )
    budget = RECOVERY[wishes.budget]
    data = divide(samples, budget.held_out(samples.count))
    steps = wishes.steps if wishes.steps is not None else budget.steps_for(_macs(teacher, data), moving=moving)
    return (data, steps) if steps else "not trained: the budget has no steps for a network of this size"


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """What torch says of too little memory, in the words that people get.

    Raises:
        Refused: gpu-memory.
        MemoryError: what the process may use is not enough.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Refused(
            "gpu-memory", f"the GPU has too little memory to train it; {VARIABLE}=cpu trains on the CPU"
        ) from error
    except RuntimeError as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise


def _recovered(
    student: Any, teacher: Any, data: Data, steps: int, wishes: Wishes, place: Place
) -> tuple[Any, list[str]]:
    progress.tell("preparing to train")
    model_twin, twin = Twin(teacher), Twin(student)
    check_steady(teacher, data.held_out)
    check_twin(model_twin, teacher, data.held_out, "the model")
    check_twin(twin, student, data.held_out, "the network to be trained")
    setup = set_up(Pair(teacher, model_twin, student, twin), data, wishes, place, steps)
    outcome, notes = learned(setup)
    if not outcome.best_step:
        return student, notes
    made = setup.student.written(student)
    check_twin(Twin(made), made, data.held_out, "the trained network")
    return made, notes


def learned(setup: Setup) -> tuple[Outcome, list[str]]:
    """Train, and what is to be said of it."""
    outcome = train(setup)
    if setup.curves is not None:
        setup.curves.close()
    notes = [_words(setup, outcome)]
    if outcome.ended is not None:
        kept = "; the best until then was kept" if outcome.best_step else ""
        notes.append(f"training stopped early: {outcome.ended}{kept}")
    if setup.lessons.silent and outcome.step:
        notes.append(f"not for this network: {', '.join(sorted(setup.lessons.silent))}")
    return outcome, notes


@dataclass(frozen=True)
class Pair:
    """Two graphs and their twins, which are known to answer alike.

    `rounds`: the student is the teacher's graph with rounding in it. Sums in another order round to another code now and then, so that the teacher tells what goes together; and a code moves when its own
    weight does, so that each goes its own way (Adam).
    """

    teacher: Any
    teacher_twin: Twin
    student: Any
    student_twin: Twin
    rounds: bool = False


def set_up(
    pair: Pair, data: Data, wishes: Wishes, place: Place, steps: int, more: Mapping[str, Any] | None = None
) -> Setup:
    """Twins on their device, and everything that a run needs.

    Args:
        pair: who learns from whom.
        data: see `divide`.
        wishes: the budget, and what learns by what.
        place: see there.
        steps: how many.
        more: parameters by name that learn besides those of the student's constants.

    Raises:
        Refused: nothing-to-compare, device-unusable.
    """
    device = pick_device()
    model_twin, twin = pair.teacher_twin, pair.student_twin
    sample = stacked(data.held_out[:1])
    what = compared(model_twin, twin, sample, task=wishes.task)
    if not what.logits and not what.values:
        raise Refused(
            "nothing-to-compare", "no answer of the network is a float array of the same shape as the model's"
        )
    telling = (model_twin,) if pair.rounds else (model_twin, twin)
    together = min(most_together(each, data.held_out, _fitting(twin, data)) for each in telling)
    model_twin.requires_grad_(False).to(device)
    twin.to(device)
    parameters = let_train(twin, wishes.trainable, seed=wishes.seed) | dict(more or {})
    lessons = Lessons(wishes.objectives)
    lessons.prepare(model_twin, twin, what, data.train, together)
    view, _ = view_of(sample)
    key = _key(pair, data, wishes, steps, device)
    return Setup(
        teacher=model_twin,
        student=twin,
        parameters=parameters,
        what=what,
        data=data,
        lessons=lessons,
        view=view if together > 1 else None,
        steps=steps,
        together=together,
        seed=wishes.seed,
        judge=Judge(model_twin, data.held_out, what, together),
        deadline=place.deadline,
        learning_rate=wishes.learning_rate,
        rounds=pair.rounds,
        half=half_helps(device, _macs(pair.teacher, data)) if wishes.half is None else wishes.half,
        folder=place.folder / key if place.folder is not None else None,
        curves=Curves(place.curves) if place.curves is not None else None,
        tell=_Teller(steps),
    )


def _macs(model: Any, data: Data) -> int:
    """Multiplications of a sample: of the graph, or where its sizes are the samples', of the first."""
    counted = count_costs(model).macs
    return counted if counted is not None else macs_of_a_sample(Twin(model), data.held_out[0])


def _fitting(twin: Twin, data: Data) -> int:
    """How many samples' tensors fit into a step: counted, so that every computer groups alike."""
    return max(1, min(BATCH, STEP_BYTES // max(1, bytes_of_a_sample(twin, data.held_out[0]))))


def _key(pair: Pair, data: Data, wishes: Wishes, steps: int, device: Any) -> str:
    """Names a run by all that its bytes depend on."""
    digest = hashlib.sha256(
        f"{checkpoint.FORMAT} {wishes} {steps} {device.type} {threads()} {torch.__version__}".encode()
    )
    for model in (pair.student, pair.teacher):
        digest.update(model.SerializeToString(deterministic=True))
    for feed in (*data.train, *data.held_out):
        for name, array in feed.items():
            digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _words(setup: Setup, outcome: Outcome) -> str:
    where = describe(setup.student.device)
    shorter = (
        f" (from {outcome.begun} on, {SLOWER ** (1 - outcome.rates):.0f} times shorter)" if outcome.rates > 1 else ""
    )
    learned = f"{outcome.step} steps{shorter} on {len(setup.data.train)} samples without labels, on {where}"
    before = f"{outcome.first.words()} before, on {len(setup.data.held_out)} samples it did not learn from"
    if not outcome.best_step:
        return f"training did not bring it nearer to the original ({learned}; {before}), so it stays as it was"
    return f"trained: {learned}: {outcome.best.words()}; {before}"


class _Teller:
    """The line of progress, not more often than anyone reads it."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.last = -math.inf

    def __call__(self, step: int, loss: float, score: Score, left_s: float | None) -> None:
        now = time.monotonic()
        if now - self.last < TELL_S and step < self.steps:
            return
        self.last = now
        near = f"agreement {score.agreement:.3f}" if score.agreement is not None else f"error {score.distance:.2g}"
        left = f", {left_s:.0f} s left" if left_s is not None else ""
        progress.tell(f"training, loss {loss:.3g}, {near}{left}: step", step, self.steps)
