"""How long building will take here, before it begins. Pure: from counts of the model and how fast this computer multiplies.

What int8 searches takes nearly all of the time. A search runs the samples through the float network twice, corrects the biases of each choice layer by layer, and judges every choice. The
constants were fitted on nine networks of 0.3 M to 1.8 G multiplications and 10 to 83 products (two cores with AVX-512, onnxruntime 1.32); each part was within a factor of 2.5 there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from edgeopt.compiler.obstacles import QUANTISABLE
from edgeopt.compiler.plan import Planned
from edgeopt.compiler.prune.budgets import BUDGETS as PRUNING
from edgeopt.compiler.prune.budgets import Budget as PruneBudget
from edgeopt.compiler.quantize.budgets import (
    BUDGETS,
    FINALISTS,
    JUDGED_BY,
    SCREENED_BY,
    WORK_OF_AN_ELEMENT,
    Budget,
)
from edgeopt.compiler.recovery import TRAINING
from edgeopt.compiler.train.budgets import BATCH, LEAST_SAMPLES, LOOKS, PASSES, RECOVERY, RecoveryBudget
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Skipped, Step

REFERENCE_SPEED = 8e10
"""Multiplications in a second, in networks, of the computer that the constants are from."""

ELEMENTS_PER_ACTIVATION = 2.0
"""Values between layers that are looked at, for each that a product writes: activations, joins and sums have tensors of their own."""

MAX_PASSES, PASSES_PER_PRODUCT = 64, 0.7
"""Of a bias correction (see quantize/bias.py): products side by side are corrected together."""

VARIANT_S = 1.5
"""A confined process: its start, the imports, reading, tidying, writing."""

CHOICES = 4
"""Two kinds of ranges, as given and equalised."""

SENSITIVE_RUNS = 24
"""Samples by which a layer's part of the damage is told, one run for each layer and a few stems."""

MOVES_PER_PRODUCT = 2.5
"""Moves of pruning that are judged on the way to a fifth less work."""

LAYER_SETS, LAYER_SAMPLES = 32, 48
"""Sets of layers that are tried (20 of 6 layers, 57 of 12), and on how many samples."""

FITTING = (1.8, 6e-5)
"""Both networks down to a layer, and the layer's least squares; as below."""

RANGES, STATISTICS, CORRECTION, JUDGING = (1.8, 3e-5), (4.5, 3.5e-4), (1.1, 6e-5), (1.5, 6e-5)
"""What a sample takes: (times the network's bare work, seconds for each product besides)."""


TRAINED, STEP_S = 0.5, 0.01
"""Multiplications in a second of training, as a share of those of the runtime (ResNet-8 and SqueezeNet, torch 2.13, two cores); and what a step takes however small the network is."""


class BuildEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds for everything that is not kept from before; None with the reason. Right within a factor of two or three, not better."""

    seconds: float | None
    reason: str | None = None


def estimate_build(
    planned: Sequence[Planned | Skipped], model: ModelInfo, *, samples: int, speed: float = REFERENCE_SPEED
) -> BuildEstimate:
    """Say how long building what was planned will take.

    Args:
        planned: as `plan_variants` gave it; what recipes have in common is made once.
        model: as inspected.
        samples: for calibration.
        speed: multiplications in a second of this computer.
    """
    todo = [plan for plan in planned if isinstance(plan, Planned)]
    searches = {key: step for plan in todo for key, step in _searches(plan.recipe.steps)}
    if searches and (model.macs is None or model.activations is None):
        return BuildEstimate(
            seconds=None, reason=model.costs_reason or "how much an inference computes was not counted"
        )
    fixed = VARIANT_S * sum(bool(plan.recipe.steps) for plan in todo)
    if not searches:
        return BuildEstimate(seconds=fixed)
    work = (model.macs or 0) + WORK_OF_AN_ELEMENT * ELEMENTS_PER_ACTIVATION * (model.activations or 0)
    products = max(1, sum(count for op, count in model.op_counts.items() if op in QUANTISABLE))
    search = _Search(
        work=work,
        products=products,
        samples=samples,
        speed=speed,
        sums=model.op_counts.get("Add", 0),
        macs=model.macs or 0,
    )
    return BuildEstimate(seconds=fixed + sum(part for step in searches.values() for part in search.parts(step)))


def duration(seconds: float) -> str:
    """A rough time in words, no more exact than the estimate."""
    return f"{max(1, round(seconds / 60))} min" if seconds >= 90 else f"{max(1, round(seconds / 10)) * 10} s"


_SEARCHES = TRAINING | {"calibrate", "leave_float", "borrow", "prune", "low_rank", "drop_layers"}


def _searches(steps: Sequence[Step]) -> Iterator[tuple[bytes, Step]]:
    """Each search and its name: what was pruned in another way is searched by itself."""
    pruned: Step | None = None
    for step in steps:
        pruned = step if step.name in ("prune", "drop_layers") else pruned
        if step.name in _SEARCHES:
            yield msgspec.json.encode([pruned, step], order="deterministic"), step


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    work: float
    products: int
    samples: int
    speed: float
    sums: int
    macs: int

    def parts(self, step: Step) -> Iterator[float]:
        """Seconds of one search, part by part."""
        if step.name in TRAINING:
            yield self._training(RECOVERY[str(step.options["budget"])])
            return
        if step.name == "drop_layers":
            yield LAYER_SETS * min(LAYER_SAMPLES, self.samples) * self._once(JUDGING)
            return
        if step.name in ("prune", "low_rank"):
            yield from self._pruning(PRUNING[str(step.options["budget"])], moves=step.name == "prune")
            return
        budget = BUDGETS[str(step.options.get("budget", "standard"))]
        thorough = budget.search and step.name == "calibrate"
        choices, bases = (CHOICES, 2) if thorough else (1, 1)
        if step.name == "leave_float":
            yield SENSITIVE_RUNS * self.products * self._once(JUDGING)
        yield self.samples * (self._once(RANGES) + bases * self._once(STATISTICS))
        yield self._corrections(budget, choices) * self._once(CORRECTION)
        yield JUDGED_BY * (choices + FINALISTS + 2) * self._once(JUDGING)

    def _pruning(self, budget: PruneBudget, *, moves: bool) -> Iterator[float]:
        """Of the whole network, and of what is left without blocks or with simpler ones: statistics, moves that are judged, and one pass for each depth in which layers are fitted."""
        judged = min(budget.judged_by, self.samples // 4)
        fitted = min(budget.fitted_by, self.samples - judged)
        starts = 1 + 2 * min(budget.blocks, self.sums) * moves
        yield starts * fitted * self._once(STATISTICS)
        if not moves:
            return
        yield starts * judged * MOVES_PER_PRODUCT * self.products * self._once(JUDGING)
        yield starts * fitted * math.ceil(PASSES_PER_PRODUCT * self.products) * self._once(FITTING)

    def _training(self, budget: RecoveryBudget) -> float:
        """Steps of both networks, and looks at the samples that judge."""
        steps = budget.steps_for(self.macs) if self.samples >= LEAST_SAMPLES else 0
        looks = LOOKS * budget.held_out(self.samples) if steps else 0
        work = (steps * BATCH * PASSES + looks) * self.macs / TRAINED
        return work / self.speed + steps * STEP_S * REFERENCE_SPEED / self.speed

    def _once(self, cost: tuple[float, float]) -> float:
        times, beside = cost
        return times * self.work / self.speed + beside * self.products * REFERENCE_SPEED / self.speed

    def _corrections(self, budget: Budget, choices: int) -> float:
        """Runs of a sample."""
        passes = math.ceil(min(PASSES_PER_PRODUCT * self.products, MAX_PASSES))
        most = budget.corrected_by(self.work, passes, self.samples)
        screened = choices * SCREENED_BY if choices > 1 else 0.0
        return most * passes * (screened + min(choices, FINALISTS))
