"""Training of a calibrated int8 network to answer as its float original does, without labels: weights, biases, and the steps that weights and activations are rounded to. Child side.

It begins with the very codes, scales and zero points that calibration chose, so that step 0 is `int8-static`; what survives must be nearer to the original on samples that it did not learn from,
and by more than chance brings (`WORTH`); otherwise the network stays as it was calibrated. Quantisation with learned steps: see `learned_step`; the teacher is the float network itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from edgeopt.compiler import progress
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.quantize.saved import Calibrated
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feed, Feeds
from edgeopt.compiler.train.check import check_steady, check_twin
from edgeopt.compiler.train.data import Data, stacked
from edgeopt.compiler.train.recover import Pair, Place, Wishes, learned, memory_told, planned, set_up
from edgeopt.compiler.train.soft import Soft
from edgeopt.compiler.train.twin import Twin

LEARNING_RATE = 5e-5
"""Of the size of what learns: see `loop`. Far smaller than that of `recover`: there is little to repair, and at larger rates codes were stirred that had been right."""

WORTH = 0.2
"""By how much of its distance a trained network must be nearer to the original to be kept. Int8 flickers around what it can reach: on MobileNet v1 0.25 the best of ten looks at 64 samples was 15 % better than
the first, and 2 % on pictures that nothing had seen."""

FEW = 0.2
"""How much of the damage of rounding a twin and ONNX Runtime may differ by: sums in another order round to the next code now and then."""

SAMPLES = 16
"""That are compared: in one alone a single code can make most of the damage."""

TINY = 1e-6
"""Of the mean square of the answers: what differs by less does not differ."""


def train_int8(
    found: Calibrated, samples: Feeds, wishes: Wishes, place: Place | None = None
) -> tuple[Calibrated, list[str]]:
    """Train it. Returns the network, trained or as it came, and remarks for people.

    Args:
        found: complete; it is not changed.
        samples: unlabelled inputs.
        wishes: the budget, and what learns by what.
        place: see there.

    Raises:
        Refused: twin-unsupported, twin-random, twin-differs, samples-unfit, teacher-random, nothing-to-compare, gpu-memory, device-unusable.
        MemoryError: what the process may use is not enough.
    """
    teacher = found.network.graph.model
    plan = planned(teacher, samples, wishes)
    if isinstance(plan, str):
        return found, [plan]
    with memory_told():
        made, notes = _trained(found.network, teacher, *plan, wishes, place or Place())
    return replace(found, network=made), notes


def _trained(
    network: Network, teacher: Any, data: Data, steps: int, wishes: Wishes, place: Place
) -> tuple[Network, list[str]]:
    progress.tell("preparing to train")
    model_twin, soft, student = Twin(teacher), Soft(network), emit(network)
    check_steady(teacher, data.held_out)
    check_twin(model_twin, teacher, data.held_out, "the model")
    check_rounded(soft.twin, student, teacher, data.held_out, "the int8 network")
    pair = Pair(teacher, model_twin, student, soft.twin, rounds=True)
    setup = set_up(pair, data, wishes, place, steps, soft.parameters())
    outcome, notes = learned(setup)
    if not outcome.best_step:
        return network, notes
    if outcome.best.distance > (1 - WORTH) * outcome.first.distance:
        notes.append("that is less than chance brings among so many looks at so few samples, so it stays as it was")
        return network, notes
    soft.twin.cpu()
    made = soft.hardened()
    check_rounded(soft.twin, emit(made), teacher, data.held_out, "the trained int8 network")
    return made, notes


def check_rounded(twin: Twin, model: Any, teacher: Any, feeds: tuple[Feed, ...], whose: str) -> float:
    """Compare a twin that rounds with what ONNX Runtime makes of the written file, conversions one by one. Returns the mean square of their difference as a share of that between the file and the original.

    Raises:
        Refused: twin-differs.
    """
    few = feeds[:SAMPLES]
    exact, written = answers(teacher, few, fused=False), answers(model, few, fused=False)
    gap = damage = size = 0.0
    for feed, original, rounded in zip(few, exact, written, strict=True):
        with torch.no_grad():
            made = twin(stacked([feed]))
        for name, truth, answer in zip(twin.output_names, original, rounded, strict=True):
            gap += _square(made[name].detach().float().cpu().numpy(), answer)
            damage += _square(truth, answer)
            size += _square(truth, np.zeros_like(truth))
    if not gap <= max(FEW * damage, TINY * size):
        raise Refused(
            "twin-differs",
            f"{whose} in torch answers differently than in ONNX Runtime (by {gap / max(damage, 1e-30):.1e} of what int8 changes)",
        )
    return gap / max(damage, 1e-30)


def _square(one: Any, other: Any) -> float:
    return float(np.square(one.astype(np.float64) - other.astype(np.float64)).sum())
