"""A quantised network of another tool in the places where ours fuses: its ranges, weights and biases, our placement and our emitter. Child side.

What its file says of a tensor is taken over as it is. What our placement needs besides is told by the samples, or follows: operators that only move values keep
their range. What the other tool left in float stays float.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.calibrate import Prepared, keep_far_joins_float, prepare
from edgeopt.compiler.quantize.emit import BIAS_LIMIT, Network, Scale, emit, scale_for, weight_scales
from edgeopt.compiler.quantize.encoding import Encoding
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.ladder import Quantised, coverage_notes, sqnr_db
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.observe import ChannelRanges, answers, run_taps
from edgeopt.compiler.quantize.placement import CARRIED, JOINED, data_inputs
from edgeopt.compiler.quantize.ranges import head_scale
from edgeopt.compiler.quantize.strip import Stripped, strip
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds

MOVED = CARRIED | {"Resize"}
"""Their answers have the range of what they read."""

CODE_ERROR = 1e-3
"""Weights this near to a whole number of steps are codes; what is farther was changed since."""

WEIGHT_CODES = (-128, 127)
JUDGED_BY = 16


def legalise(model: Any, feeds: Feeds | None, *, encoding: Encoding, scratch: Path) -> Quantised:
    """Write a quantised file anew, so that the runtime runs it in int8.

    Args:
        model: QDQ, opset 13 or later; it is not changed.
        feeds: samples, for ranges that the file lacks and to compare both files; None when there are none.
        encoding: U8S8 (x86) or S8S8 (ARM).
        scratch: folder for what the runtime writes.

    Raises:
        Refused: the file is quantised otherwise, or lacks ranges and there are no samples.
    """
    stripped = strip(model)
    network, notes = network_of(stripped, feeds)
    made = emit(network, encoding)
    before, after = coverage(model, scratch), coverage(made, scratch)
    notes += [
        f"as given, {before.fused(arm=False)} of {len(before.products)} products run in int8 by x86 rules, {before.fused(arm=True)} by ARM rules"
    ]
    notes += coverage_notes(after, len(after.products) - len(network.layers), encoding)
    if feeds is not None:
        few = feeds.first(JUDGED_BY)
        near = sqnr_db(answers(model, few, fused=False), answers(made, few, fused=False))
        notes.append(f"answers are {near:.1f} dB from those of the file as given")
    return Quantised(model=made, coverage=after, notes=notes)


def network_of(stripped: Stripped, feeds: Feeds | None) -> tuple[Network, list[str]]:
    """The network that a stripped file stands for, in our places, and remarks.

    Raises:
        Refused: nothing in it has quantised weights; or ranges are missing and there are no samples.
    """
    names = {node.name for node in stripped.model.graph.node}
    prepared = prepare(stripped.model, float_layers=frozenset(names - stripped.steps.keys()))
    if not prepared.layers:
        raise Refused("nothing-to-do", "no convolution or matrix product in the file has quantised weights")
    known = _known(prepared, stripped.scales)
    seen = _seen(prepared, [name for name in sorted(prepared.placement.tensors) if name not in known], feeds)
    _leave_far_joins(prepared, known, seen)
    network = Network(graph=prepared.graph, layers=prepared.layers, placement=prepared.placement)
    for lead, members in prepared.placement.groups().items():
        found = [scale for name in members for scale in known.get(name, ())]
        network.scales[lead] = _merged(found, seen, members, is_head=lead in prepared.placement.heads)
    kept = sum(_take_weights(network, layer, stripped.steps.get(layer.name)) for layer in network.layers)
    notes = [f"weights of {kept} of {len(network.layers)} layers as they were, of the others rounded anew"]
    taken = sum(name in known for name in prepared.placement.tensors)
    notes.append(
        f"ranges of {taken} of {len(prepared.placement.tensors)} tensors from the file, of the others from samples"
    )
    if max(stripped.widths) > 8:
        notes.append(f"activations of {max(stripped.widths)} bits have 8 now: the runtime has no kernels for more")
    return network, notes


def _known(prepared: Prepared, given: dict[str, list[Scale]]) -> dict[str, list[Scale]]:
    """By tensor of the placement, the quantisers that the file has for it, those of the operators around it that only move values included."""
    activations = prepared.placement.activations
    known = {name: given[name] for name in prepared.placement.tensors if name in given}
    for linear, activation in activations.items():
        found = known.get(activation.out) or given.get(linear)
        if found and activation.out in prepared.placement.tensors:
            known[activation.out] = [_clipped(scale, activation.high) for scale in found]
    while _spread(prepared, known):
        pass
    return known


def _spread(prepared: Prepared, known: dict[str, list[Scale]]) -> bool:
    """One step of it; whether something new is known."""
    count = len(known)
    for node in prepared.graph.graph.node:
        if node.output[0] not in prepared.placement.nodes or node.op_type not in MOVED | JOINED:
            continue
        inputs, outputs = data_inputs(prepared.graph, node), [name for name in node.output if name]
        told = next((known[name] for name in outputs if name in known), None)
        for name in inputs if told else ():
            known.setdefault(name, told or [])
        if all(name in known for name in inputs):
            for name in outputs:
                known.setdefault(name, [scale for other in inputs for scale in known[other]])
    return len(known) > count


def _clipped(scale: Scale, high: float) -> Scale:
    """The part of a quantiser's range that Relu or Clip leaves."""
    top = scale.scale * (255 - scale.zero)
    if (scale.zero == 0).all() and (top <= high * (1 + 1e-6)).all():
        return scale
    return scale_for(np.zeros_like(top), np.minimum(top, high))


def _seen(prepared: Prepared, names: Sequence[str], feeds: Feeds | None) -> ChannelRanges:
    """What the samples show of the tensors that the file says nothing of."""
    ranges = ChannelRanges()
    if not names:
        return ranges
    if feeds is None:
        raise Refused(
            "samples-missing",
            f"the file has no range for {len(names)} tensors that must be quantised to run in int8 ({', '.join(names[:3])}): give samples (--samples) to find them with",
        )
    run_taps(prepared.graph.model, names, feeds, ranges.visit)
    return ranges


def _leave_far_joins(prepared: Prepared, known: dict[str, list[Scale]], seen: ChannelRanges) -> None:
    """Place anew without the Concats whose inputs are too different for one scale, by the file's ranges."""
    ranges = ChannelRanges()
    ranges.low = seen.low | {name: np.array([_ends(scales)[0]]) for name, scales in known.items()}
    ranges.high = seen.high | {name: np.array([_ends(scales)[1]]) for name, scales in known.items()}
    keep_far_joins_float(prepared, ranges)


def _ends(scales: Sequence[Scale]) -> tuple[float, float]:
    """The union of ranges."""
    lows = [float((-scale.scale.astype(np.float64) * scale.zero).min()) for scale in scales]
    highs = [float((scale.scale.astype(np.float64) * (255 - scale.zero)).max()) for scale in scales]
    return min(lows), max(highs)


def _merged(found: Sequence[Scale], seen: ChannelRanges, members: Sequence[str], *, is_head: bool) -> Scale:
    """One quantiser for tensors that share it: as it was where all agree, else over all of their ranges."""
    sampled = [name for name in members if name in seen.low]
    if not found and is_head:
        return head_scale(seen.low[members[0]], seen.high[members[0]])
    first = found[0] if found else None
    if first is not None and not sampled and all(_agree(first, other) for other in found[1:]):
        one_zero = is_head and (first.zero == first.zero[0]).all()
        if len(first.scale) == 1 or one_zero:
            return first
    low, high = seen.range(sampled)
    ends = [(low, high)] * bool(sampled) + [_ends([scale]) for scale in found]
    return scale_for(min(end[0] for end in ends), max(end[1] for end in ends))


def _agree(one: Scale, other: Scale) -> bool:
    return np.array_equal(one.scale, other.scale) and np.array_equal(one.zero, other.zero)


def _take_weights(network: Network, layer: Layer, steps: Array | None) -> bool:
    """Codes as they were, channel by channel, where they are symmetric int8 and their bias fits; the nearest to their values elsewhere. Whether all were kept."""
    source = network.scale_of(layer.source)
    own = weight_scales(layer, source)
    rows = layer.weight.reshape(layer.channels, -1).astype(np.float64)
    kept: Array = np.zeros(layer.channels, bool)
    if steps is not None and len(steps) == layer.channels:
        codes = rows / steps[:, None]
        low, high = WEIGHT_CODES
        kept = np.asarray((np.abs(codes - np.rint(codes)) < CODE_ERROR).all(axis=1))
        kept &= (codes.min(axis=1) > low - 0.5) & (codes.max(axis=1) < high + 0.5)
        kept &= np.abs(layer.bias) <= BIAS_LIMIT * float(source.scale[0]) * steps
        own = np.where(kept, steps, own).astype(np.float32)
    network.weight_scales[layer.name] = own
    codes = np.clip(np.rint(rows / own[:, None].astype(np.float64)), *WEIGHT_CODES)
    network.codes[layer.name] = codes.reshape(layer.weight.shape).astype(np.int8)
    return bool(kept.all())
