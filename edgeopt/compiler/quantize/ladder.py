"""Try the few combinations that matter, keep the one that answers most like the float network. Child side.

Every choice is made by the outputs' signal to noise ratio on samples that the statistics did not see, in float emulation, so that it does not depend on this CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.graph_walk import behind_control_flow
from edgeopt.compiler.progress import about, tell
from edgeopt.compiler.quantize.bias import layers_by_depth
from edgeopt.compiler.quantize.budgets import FINALISTS, JUDGED_BY, SCREENED_BY, WORK_OF_AN_ELEMENT, Budget
from edgeopt.compiler.quantize.calibrate import (
    Observed,
    Prepared,
    channel_ranges,
    corrected,
    equalised,
    keep_far_joins_float,
    looked_at,
    observe,
    passes,
    prepare,
    range_choices,
    rounded,
)
from edgeopt.compiler.quantize.emit import Network, Scale, emit
from edgeopt.compiler.quantize.encoding import ENCODINGS, S8S8, U8S8, Encoding
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.quantize.gate import to_leave_in_float, verdict
from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.mixed import worth_float
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.quantize.saved import Calibrated
from edgeopt.compiler.quantize.smooth import smoothed_if_better
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds
from edgeopt.domain.coverage import Coverage

LEAST_TO_SPLIT = 96
"""With fewer samples judging uses those that calibrate, too: better ranges are worth more than an unbiased choice among four."""

SENSITIVE_BY = 24
"""Samples by which a layer's part of the damage is told."""

DECIDED_BY = 128
"""Samples by which it is decided what stays float. Those that calibrated may be among them: all that are compared were fitted to the same, and a tenth of the pictures can make
most of the noise, so that many tell more than others do."""

REPAIRS = 2
"""How often layers that do not fuse are left in float: the first time their neighbours may lose what they fused with."""

SATURATION_DB = 1.0
"""Rounding alone stays well under this."""


@dataclass(kw_only=True)
class Quantised:
    """The result: a QDQ model, what it covers, and remarks for people."""

    model: Any
    coverage: Coverage
    notes: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class _Choice:
    name: str
    kind: tuple[bool, str]
    """(equalised, which ranges): what a second search, with some layers in float, takes over."""
    observed: Observed
    scales: dict[str, Scale]
    sqnr_db: float = -math.inf
    rounded: Network | None = None
    """What every correction of biases starts from."""


def calibrate(model: Any, feeds: Feeds, *, encoding: Encoding, float_first: int, budget: Budget) -> Calibrated:
    """Find the int8 network that answers most like a tidy float32 model.

    Args:
        model: opset 13 or later; it is not changed.
        feeds: calibration samples.
        encoding: what it is to be written as; all of those that share its calibration will do.
        float_first: down to which depth layers stay float: 2 is the first layer, and whatever reads it.
        budget: how much to try.

    Raises:
        Refused: there is nothing to quantise.
    """
    basis = ENCODINGS[encoding.calibrated_as]
    prepared = prepare(model, basis)
    if float_first and prepared.layers:
        prepared = prepare(model, basis, float_layers=_stem(prepared, float_first))
    if not prepared.layers:
        raise Refused("nothing-to-do", "nothing in the graph could be quantised" + behind_control_flow(model))
    found = _search(model, prepared, *divide(feeds), budget)
    found.float_layers = len(prepared.skipped)
    return found


def leave_float(first: Calibrated, feeds: Feeds, *, share: float, budget: Budget) -> Calibrated:
    """Find the layers that hurt most in what was found, leave them in float, calibrate anew.

    Args:
        first: it is not changed.
        feeds: those that it was calibrated on.
        share: of all multiplications, the most that may stay float.
        budget: how much to try.

    Raises:
        Refused: no layer in float would help.
    """
    fitting, judging = divide(feeds)
    part = worth_float(
        first.network, _judge_of(first, judging.first(SENSITIVE_BY)), _judge_of(first, feeds.first(DECIDED_BY)), share
    )
    if part is None:
        raise Refused(
            "nothing-to-do", f"no layers with under {100 * share:.0f} % of the multiplications would help in float"
        )
    prepared = prepare(first.tidy, first.network.placement.encoding, float_layers=part.layers)
    found = _search(first.tidy, prepared, fitting, judging, budget, first.kind)
    found.remarks = [*first.remarks, f"all int8: {first.choice}", f"float, +{part.gain_db:.1f} dB: {part.words}"]
    found.float_layers = len(part.layers)
    return found


def _judge_of(found: Calibrated, feeds: Feeds) -> Callable[[Any], float]:
    truth = answers(found.network.graph.model, feeds, fused=False)
    return lambda made: sqnr_db(truth, answers(made, feeds, fused=False))


def write(
    found: Calibrated, feeds: Feeds, *, encoding: Encoding, arm: bool | None, budget: Budget, scratch: Path
) -> Quantised:
    """Write a calibrated network as QDQ, once what does not fuse is float (see `gate`).

    Args:
        found: complete; it is not changed.
        feeds: those that it was calibrated on.
        encoding: what it is written as; one that shares the calibration.
        arm: by which rules it is to fuse; None: ARM's for S8S8, else those of x86.
        budget: how much to try where something must be calibrated anew.
        scratch: folder for what the runtime writes.

    Raises:
        Refused: too little of what was to be int8 fuses.
    """
    found = settled(found, feeds, encoding=encoding, arm=arm, budget=budget, scratch=scratch)
    made = emit(found.network, encoding)
    covered = coverage(made, scratch)
    notes = [*found.remarks, f"chosen: {found.choice}", *coverage_notes(covered, found.float_layers, encoding)]
    notes += _saturation_notes(found.tidy, emit(found.network, U8S8) if encoding is S8S8 else made, divide(feeds)[1])
    return Quantised(model=made, coverage=covered, notes=notes)


def settled(
    found: Calibrated, feeds: Feeds, *, encoding: Encoding, arm: bool | None, budget: Budget, scratch: Path
) -> Calibrated:
    """What `write` writes: the network once what does not fuse is float; as it is where that is settled. Arguments and errors are those of `write`."""
    if encoding.foreign is not None:
        return found
    tell("what fuses")
    arm = encoding is S8S8 if arm is None else arm
    return _through_the_gate(found, encoding, *divide(feeds), budget, scratch, arm=arm)


def _through_the_gate(
    found: Calibrated, encoding: Encoding, fitting: Feeds, judging: Feeds, budget: Budget, scratch: Path, *, arm: bool
) -> Calibrated:
    """Leave in float what does not fuse, and calibrate anew; see `gate` for the rules.

    Raises:
        Refused: too little of what was to be int8 is.
    """
    basis, intended = found.network.placement.encoding, _int8_layers(found)
    for _ in range(REPAIRS):
        covered = coverage(emit(found.network, encoding), scratch)
        unfused = to_leave_in_float(covered, _int8_layers(found), arm=arm)
        if not unfused or unfused == _int8_layers(found):
            break
        everything = {layer.name for layer in prepare(found.tidy, basis).layers}
        left = frozenset(everything - _int8_layers(found) | unfused)
        again = _search(found.tidy, prepare(found.tidy, basis, float_layers=left), fitting, judging, budget, found.kind)
        again.remarks = [*found.remarks, f"float, because they do not fuse: {', '.join(sorted(unfused))}"]
        again.float_layers = len(left)
        found = again
    stays, note = verdict(coverage(emit(found.network, encoding), scratch), intended, arm=arm)
    if not stays:
        raise Refused("step-failed", str(note))
    return replace(found, remarks=[*found.remarks, note]) if note else found


def _int8_layers(found: Calibrated) -> frozenset[str]:
    return frozenset(layer.name for layer in found.network.layers)


def _search(
    model: Any,
    prepared: Prepared,
    fitting: Feeds,
    judging: Feeds,
    budget: Budget,
    only: tuple[bool, str] | None = None,
) -> Calibrated:
    given, few = prepared.graph.model, judging.first(SENSITIVE_BY)

    def judge(made: Any) -> float:
        return sqnr_db(answers(given, few, fused=False), answers(made, few, fused=False))

    prepared, words = smoothed_if_better(prepared, fitting, judge)
    choices, remarks = _choices(prepared, fitting, budget, only)
    network, name, kind = _best(choices, fitting, judging, remarks)
    return Calibrated(tidy=model, network=network, choice=name, kind=kind, remarks=[*words, *remarks])


def _stem(prepared: Prepared, depth: int) -> frozenset[str]:
    """Names of the layers down to a depth. All of them: where two branches read the first layer, one in int8 would have its answer rounded all the same."""
    levels = layers_by_depth(prepared.graph, prepared.layers)
    return frozenset(layer.name for level in levels[:depth] for layer in level)


def divide(feeds: Feeds) -> tuple[Feeds, Feeds]:
    """(samples for statistics, samples for judging)."""
    if feeds.count < LEAST_TO_SPLIT:
        return feeds, feeds.first(JUDGED_BY)
    kept = min(JUDGED_BY, feeds.count // 4)
    return feeds.without_first(kept), feeds.first(kept)


def _choices(
    prepared: Prepared, feeds: Feeds, budget: Budget, only: tuple[bool, str] | None
) -> tuple[list[_Choice], list[str]]:
    ranges = channel_ranges(prepared, feeds)
    most = affordable(prepared, ranges.elements, budget, feeds.count)
    far = keep_far_joins_float(prepared, ranges)
    lifted, lifted_ranges, count = equalised(prepared, ranges)
    bases = [(prepared, ranges, "as given")] if budget.search or not count else []
    bases += [(lifted, lifted_ranges, f"{count} tensors equalised")] if count else []
    bases = [base for base in bases if only and (base[0] is lifted) == only[0]] or bases
    choices = []
    for base, base_ranges, name in bases:
        observed = observe(base, base_ranges, feeds, looked_at=most)
        choices += [
            _Choice(name=f"{name}, {word}", kind=(base is lifted, word), observed=observed, scales=s)
            for word, s in range_choices(observed).items()
        ]
    choices = [choice for choice in choices if choice.kind == only] or choices
    if not budget.search:
        choices = choices[-1:]
    notes = [f"ranges and rounding from {feeds.count} samples, biases from {most}"]
    if far:
        notes.append(f"{far} Concat stay float: what they join is too different in size for one scale")
    return choices, notes


def affordable(prepared: Prepared, elements: Mapping[str, float], budget: Budget, count: int) -> int:
    """How many samples bias correction can run within the budget.

    Args:
        prepared: the network.
        elements: mean size of tensors by name, those between layers among them.
        budget: how much to try.
        count: how many samples there are.
    """
    products = sum(layer.weight.size / layer.channels * elements.get(layer.out, 1.0) for layer in prepared.layers)
    once = products + WORK_OF_AN_ELEMENT * sum(elements.values())
    return budget.corrected_by(once, passes(prepared), count)


def _best(
    choices: list[_Choice], fitting: Feeds, judging: Feeds, remarks: list[str]
) -> tuple[Network, str, tuple[bool, str]]:
    """Correct every choice with a few samples, the best of them with all, and keep the one that the judges like most."""
    most = looked_at(choices[0].observed)
    truth = answers(choices[0].observed.prepared.graph.model, judging, fused=False)
    for number, choice in enumerate(choices if len(choices) > 1 else (), 1):
        about(f"choice {number} of {len(choices)}")
        _judge(choice, fitting.first(max(1, int(most * SCREENED_BY))), judging, truth)
        remarks.append(f"tried: {choice.name}: {choice.sqnr_db:.1f} dB")
    about("finalists" if len(choices) > 1 else "")
    finalists = sorted(choices, key=lambda choice: -choice.sqnr_db)[:FINALISTS]
    networks = {choice.name: _judge(choice, fitting.first(most), judging, truth) for choice in finalists}
    winner = max(finalists, key=lambda choice: choice.sqnr_db)
    corrected_db = winner.sqnr_db
    plain = _judge(winner, None, judging, truth)
    about("")
    if winner.sqnr_db > corrected_db:
        return plain, f"{winner.name}, biases as they are: {winner.sqnr_db:.1f} dB", winner.kind
    return networks[winner.name], f"{winner.name}: {corrected_db:.1f} dB", winner.kind


def _judge(choice: _Choice, fitting: Feeds | None, judging: Feeds, truth: list[list[Array]]) -> Network:
    """Rounded once, biases corrected with `fitting`, or left as they are without."""
    choice.rounded = choice.rounded or rounded(choice.observed, choice.scales)
    network = choice.rounded if fitting is None else corrected(choice.rounded, choice.observed, fitting)
    tell("judging")
    choice.sqnr_db = sqnr_db(truth, answers(emit(network), judging, fused=False))
    return network


def sqnr_db(truth: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]]) -> float:
    """10 log10(signal / noise) over all float outputs of all samples; -inf when an answer is not a number, inf when there is no noise."""
    signal = noise = 0.0
    for expected, answered in zip(truth, got, strict=True):
        for r, y in zip(expected, answered, strict=True):
            if r.dtype.kind == "f":
                reference = r.astype(np.float64)
                signal += float(np.square(reference).sum())
                noise += float(np.square(reference - y).sum())
    if not math.isfinite(noise) or not signal:
        return -math.inf
    return math.inf if noise == 0.0 else 10.0 * math.log10(signal / noise)


def _saturation_notes(tidy: Any, model: Any, judging: Feeds) -> list[str]:
    """Whether this CPU's kernels answer worse than the arithmetic says: without VNNI, pairs of uint8 x int8 products saturate in 16 bits."""
    truth = answers(tidy, judging, fused=False)
    emulated, real = (sqnr_db(truth, answers(model, judging, fused=fused)) for fused in (False, True))
    if emulated - real < SATURATION_DB:
        return []
    return [
        f"this computer's kernels lose {emulated - real:.1f} dB against exact arithmetic (they saturate); a device with dot products will not, so judge by its own answers"
    ]


def coverage_notes(covered: Coverage, kept_float: int, encoding: Encoding) -> list[str]:
    """What runs in int8, in sentences."""
    count = len(covered.products)
    x86, arm = (_share_words(share) for share in (covered.x86_share, covered.arm_share))
    notes = [
        f"{covered.fused(arm=False)} of {count} products run in int8 by the x86 rules of onnxruntime {covered.runtime_version}{x86}, {covered.fused(arm=True)} by its ARM rules{arm}"
    ]
    if encoding.foreign is not None:
        notes = [f"written for {encoding.foreign}, which is not here: what it runs in int8 was not looked at"]
    if kept_float:
        notes.append(f"{kept_float} layers stay float")
    return notes


def _share_words(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.1f} % of multiplications)"
