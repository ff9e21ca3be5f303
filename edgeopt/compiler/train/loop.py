"""The training loop: one step after the other, a look at the held-out samples now and then, and a checkpoint at each look.

All that a step draws at random follows from the seed and its number, so that a run which goes on from a checkpoint ends in the same bytes as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.train import checkpoint
from edgeopt.compiler.train.augment import View
from edgeopt.compiler.train.averaging import Average
from edgeopt.compiler.train.budgets import BATCH, look_every
from edgeopt.compiler.train.compared import Compared
from edgeopt.compiler.train.curves import Curves
from edgeopt.compiler.train.data import Data, generator, groups, picked, size_of
from edgeopt.compiler.train.judge import Judge, Score
from edgeopt.compiler.train.lessons import Lessons
from edgeopt.compiler.train.objectives.scene import Scene
from edgeopt.compiler.train.optimiser import STATES, Optimiser
from edgeopt.compiler.train.twin import Twin

LEARNING_RATE = 4e-3
"""Of the size of what learns."""

SLOWER, MOST_RATES = 0.25, 4
"""A look that finds nothing gained yet begins anew at so much of the rate; after so many rates there is nothing to gain. SqueezeNet without a sixth of its work comes nearer at a sixteenth of the rate that serves ResNet-8."""

LEAST_AT_A_RATE, SHARE_AT_A_RATE = 100, 0.2
"""Steps before that is said, at least, and as a share of all: a network moves away before it comes nearer. After 100 of 1,000, ResNet-8 had gained nothing at any rate (one fold of three); after 200 at the first it had in five runs of six."""

LEAST_SIZE = 1e-3
"""Of a parameter that is all but 0."""

Tell = Callable[[int, float, Score, float | None], None]
"""Told the step, its loss, the last score, and the seconds that are left (None: not known yet)."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """All that a run depends on. `together` is how many samples go through a network at once, `deadline` a moment of the monotonic clock at which it must stop; `rounds`: the student has rounding in it, so that it is moved by Adam, and answers worse before it answers better."""

    teacher: Twin
    student: Twin
    parameters: Mapping[str, Any]
    what: Compared
    data: Data
    lessons: Lessons
    view: View | None
    steps: int
    together: int
    seed: int
    judge: Judge
    deadline: float
    learning_rate: float = LEARNING_RATE
    rounds: bool = False
    half: bool = False
    folder: Path | None = None
    curves: Curves | None = None
    tell: Tell | None = None


@dataclass(kw_only=True)
class Outcome:
    """`first` is the score before training, `best` that of `weights`, which were reached, or were the mean, at step `best_step`; 0 is the student as it came. `rates` have been tried, the last from step `begun` on. `ended` says why it stopped early, if it did."""

    first: Score
    best: Score
    best_step: int = 0
    step: int = 0
    rates: int = 1
    begun: int = 0
    weights: dict[str, Any] = field(default_factory=dict)
    ended: str | None = None


def train(setup: Setup) -> Outcome:
    """Run all steps, or what is left of them. The student's parameters are the best ones afterwards."""
    optimiser = Optimiser(_sizes(setup), orthogonal=not setup.rounds)
    average = Average(setup.parameters)
    outcome = _begin(setup, optimiser, average)
    every = look_every(setup.steps)
    score, began, started = outcome.best, time.monotonic(), outcome.step
    while outcome.step < setup.steps and outcome.ended is None:
        loss = _step(setup, optimiser, outcome)
        if not math.isfinite(loss):
            outcome.ended = f"the loss was no number any more at step {outcome.step + 1}"
            break
        outcome.step += 1
        average.take()
        now = time.monotonic()
        step_s = (now - began) / (outcome.step - started)
        late = now > setup.deadline and outcome.step < setup.steps
        looked = outcome.step % every == 0 or outcome.step == setup.steps
        if looked or late:
            score = _look(setup, outcome, average)
        if looked and _gained_nothing(setup, outcome):
            _slow_down(setup, optimiser, outcome)
            average.begin()
        if looked:
            # Not where time ended: run again, it goes on as if there had been no end.
            _keep(setup, optimiser, average, outcome)
        _told(setup, outcome, loss, score, step_s)
        if late:
            outcome.ended = f"its time was up after step {outcome.step} of {setup.steps}"
    _load(setup.parameters, outcome.weights)
    return outcome


def _look(setup: Setup, outcome: Outcome, average: Average) -> Score:
    """Judge the student as it is and by the mean of its weights; returns the better score."""
    score = _judged(setup, outcome)
    with average.in_place():
        return min(score, _judged(setup, outcome), key=lambda found: found.distance)


def _judged(setup: Setup, outcome: Outcome) -> Score:
    """The score of the student, which is kept if it is the best so far."""
    score = setup.judge.score(setup.student)
    if score.beats(outcome.best, outcome.first, judged=len(setup.data.held_out)):
        outcome.best, outcome.best_step, outcome.weights = score, outcome.step, _arrays(setup.parameters)
    return score


def _sizes(setup: Setup) -> dict[Any, float]:
    """Each parameter with the size that its steps are relative to.

    An optimiser moves every weight by about its rate, whatever its size; where batch norm was merged and inputs are raw pixels, weights are a hundred times smaller than elsewhere, and a rate that is right for
    one layer wrecks another. Sizes as in Shazeer and Stern, *Adafactor*, ICML 2018, section 8.
    """
    with torch.no_grad():
        sizes = {p: max(float(p.float().pow(2).mean().sqrt()), LEAST_SIZE) for p in setup.parameters.values()}
    return sizes | dict.fromkeys(setup.lessons.parameters(), 1.0)


def _gained_nothing(setup: Setup, outcome: Outcome) -> bool:
    """Whether it is time for smaller steps."""
    tried = outcome.step - outcome.begun >= max(LEAST_AT_A_RATE, SHARE_AT_A_RATE * setup.steps)
    return tried and not (setup.rounds or outcome.best_step or outcome.step == setup.steps)


def _slow_down(setup: Setup, optimiser: Optimiser, outcome: Outcome) -> None:
    """Begin anew from the student as it came, with smaller steps; or end."""
    if outcome.rates == MOST_RATES:
        outcome.ended = f"it came no nearer by smaller steps either, until step {outcome.step} of {setup.steps}"
        return
    outcome.rates, outcome.begun = outcome.rates + 1, outcome.step
    _load(setup.parameters, outcome.weights)
    optimiser.restart()


def _step(setup: Setup, optimiser: Optimiser, outcome: Outcome) -> float:
    """One step over a batch, group by group; the mean loss."""
    step, done = outcome.step, (outcome.step - outcome.begun) / (setup.steps - outcome.begun)
    rate = setup.learning_rate * SLOWER ** (outcome.rates - 1) * 0.5 * (1 + math.cos(math.pi * done))
    optimiser.forget()
    chosen = picked(len(setup.data.train), BATCH, step=step, seed=setup.seed)
    random, total = generator(setup.seed, 2, step), 0.0
    for places, feeds in groups([setup.data.train[index] for index in chosen], setup.together):
        scene = _scene(setup, [chosen[place] for place in places], feeds, random)
        total += setup.lessons.learn(scene, share=size_of(feeds) / len(chosen), parameters=setup.parameters)
        if not math.isfinite(total):
            return total
    optimiser.step(rate)
    return total


def _scene(setup: Setup, indices: Sequence[int], feeds: Any, random: Any) -> Scene:
    """Both networks on a group; what no view changes is asked of the teacher once."""
    device = setup.student.device
    feeds = {name: x.to(device) if x.is_floating_point() else x for name, x in feeds.items()}
    seen = setup.view(feeds, random) if setup.view is not None else feeds
    of_teacher, of_student = (tuple(dict.fromkeys((*setup.what.wanted, *more))) for more in setup.lessons.names)

    def teach(other: Mapping[str, Any]) -> Any:
        with torch.no_grad(), _precision(setup, device):
            return setup.teacher(other, of_teacher)

    def learn(other: Mapping[str, Any]) -> Any:
        with _precision(setup, device):
            return setup.student(other, of_student)

    known = setup.lessons.memory.recall(indices) if setup.view is None else None
    answers = teach(seen) if known is None else known
    if setup.view is None and known is None:
        setup.lessons.memory.remember(indices, answers)
    return Scene(
        feeds=seen,
        compared=setup.what,
        teacher=answers,
        student=learn(seen),
        run_teacher=teach,
        run_student=learn,
        random=random,
        anchors=setup.lessons.anchors,
        attention=setup.lessons.attention,
    )


def _precision(setup: Setup, device: Any) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=setup.half)


def _begin(setup: Setup, optimiser: Optimiser, average: Average) -> Outcome:
    """From the checkpoint if there is one, else from the start."""
    found = checkpoint.load(setup.folder) if setup.folder is not None else None
    if found is None:
        first = setup.judge.score(setup.student)
        return Outcome(first=first, best=first, weights=_arrays(setup.parameters))
    arrays, record = found
    _load(setup.parameters, _part(arrays, "now/"))
    average.begin(record["averaged"], _part(arrays, "average/"))
    setup.lessons.load(_part(arrays, "lessons/"))
    for name, parameter in _learning(setup).items():
        known = {state: arrays[f"{state}/{name}"] for state in STATES if f"{state}/{name}" in arrays}
        if known:
            optimiser.state[parameter] = {
                s: torch.from_numpy(array).to(_place(s, parameter)) for s, array in known.items()
            }
    return Outcome(
        first=Score(*record["first"]),
        best=Score(*record["best"]),
        best_step=record["best_step"],
        step=record["step"],
        rates=record["rates"],
        begun=record["begun"],
        weights=_part(arrays, "best/"),
        ended=record["ended"],
    )


def _keep(setup: Setup, optimiser: Optimiser, average: Average, outcome: Outcome) -> None:
    if setup.folder is None:
        return
    arrays = {f"now/{name}": array for name, array in _arrays(setup.parameters).items()}
    arrays |= {f"best/{name}": array for name, array in outcome.weights.items()}
    arrays |= {f"average/{name}": array for name, array in _arrays(average.values).items()}
    arrays |= {f"lessons/{name}": array for name, array in setup.lessons.arrays().items()}
    for name, parameter in _learning(setup).items():
        # Empty where nothing that is compared depends on it, so far.
        arrays |= {f"{s}/{name}": tensor.cpu().numpy() for s, tensor in optimiser.state.get(parameter, {}).items()}
    first, best = ([s.distance, s.agreement] for s in (outcome.first, outcome.best))
    record = {
        "step": outcome.step,
        "best_step": outcome.best_step,
        "rates": outcome.rates,
        "begun": outcome.begun,
        "averaged": average.steps,
        "first": first,
        "best": best,
        "ended": outcome.ended,
    }
    checkpoint.save(setup.folder, arrays, record)


def _place(state: str, parameter: Any) -> Any:
    """Counts stay on the CPU."""
    return "cpu" if state == "step" else parameter.device


def _learning(setup: Setup) -> dict[str, Any]:
    """Everything that the optimiser has, by name."""
    named = {**setup.parameters, **{f"lesson{i}": p for i, p in enumerate(setup.lessons.parameters())}}
    return {name: parameter for name, parameter in named.items() if parameter.requires_grad}


def _told(setup: Setup, outcome: Outcome, loss: float, score: Score, step_s: float) -> None:
    if setup.curves is not None:
        setup.curves.write(outcome.step, loss, score)
    if setup.tell is not None:
        left_s = min(step_s * (setup.steps - outcome.step), max(0.0, setup.deadline - time.monotonic()))
        setup.tell(outcome.step, loss, score, left_s)


def _arrays(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(parameter.detach().cpu().numpy()) for name, parameter in parameters.items()}


def _load(parameters: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(arrays[name]))


def _part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
