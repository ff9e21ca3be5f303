"""int8 with what another tool found: its ranges, weights and biases through our legaliser, our bias correction on top where that helps. Child side.

Judged as our own choices are: signal to noise ratio against the float network, on samples that nobody was calibrated on, in float emulation.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.bias import correct_biases
from edgeopt.compiler.quantize.budgets import Budget
from edgeopt.compiler.quantize.calibrate import channel_ranges, prepare
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.encoding import Encoding
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.ladder import Quantised, affordable, coverage_notes, divide, sqnr_db
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.legalise import network_of
from edgeopt.compiler.quantize.observe import answers, run_taps
from edgeopt.compiler.quantize.patches import Sampler, samplers
from edgeopt.compiler.quantize.strip import name_nodes, strip
from edgeopt.compiler.quantize.tools import WAYS, Way
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten
from edgeopt.compiler.running import Feeds

SIZED_BY = 4
"""Samples by which the size of tensors is told: inputs of changing length have more or fewer."""


@dataclass(kw_only=True)
class _Found:
    network: Network
    name: str
    sqnr_db: float
    notes: list[str]


@dataclass(kw_only=True)
class _Samples:
    fitting: Feeds
    judging: Feeds
    truth: list[list[Array]]
    """The float network's answers to `judging`."""


def borrow(model: Any, feeds: Feeds, tool: str, *, encoding: Encoding, budget: Budget, scratch: Path) -> Quantised:
    """Quantise a tidy float32 model by another tool, in each of its ways, and keep what answers most like the float network.

    Args:
        model: opset 13 or later; it is not changed, but for the names of its nodes.
        feeds: calibration samples.
        tool: a key of `tools.WAYS`.
        encoding: U8S8 (x86) or S8S8 (ARM).
        budget: how much to try.
        scratch: folder for what the tool and the runtime write.

    Raises:
        Refused: none of the ways gave a model.
    """
    name_nodes(model)
    samples = _samples(model, feeds)
    found: list[_Found] = []
    remarks: list[str] = []
    for way in WAYS[tool]:
        if way.thorough and not budget.search:
            continue
        try:
            found += _tried(model, way, samples, budget, scratch)
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError from error
            sys.excepthook(type(error), error, error.__traceback__)
            remarks.append(f"{way.name} failed: {shorten(str(error)) or type(error).__name__}")
    if not found:
        raise Refused("step-failed", "; ".join(remarks))
    best = max(found, key=lambda each: each.sqnr_db)
    made = emit(best.network, encoding)
    covered = coverage(made, scratch)
    notes = [*remarks, *(f"tried: {each.name}: {each.sqnr_db:.1f} dB" for each in found), f"chosen: {best.name}"]
    notes += [*best.notes, *coverage_notes(covered, len(covered.products) - len(best.network.layers), encoding)]
    return Quantised(model=made, coverage=covered, notes=notes)


def _samples(model: Any, feeds: Feeds) -> _Samples:
    fitting, judging = divide(feeds)
    return _Samples(fitting=fitting, judging=judging, truth=answers(model, judging, fused=False))


def _tried(model: Any, way: Way, samples: _Samples, budget: Budget, scratch: Path) -> list[_Found]:
    """What one way gives: as it is, and with our bias correction."""
    own = type(model)()
    own.CopyFrom(model)
    network, notes = network_of(strip(way.make(own, samples.fitting, scratch)), samples.fitting)
    found = [_judged(network, way.name, samples, notes)]
    corrected = _corrected(model, network, samples, budget)
    if corrected is not None:
        found.append(_judged(corrected, f"{way.name}, biases corrected anew", samples, notes))
    return found


def _judged(network: Network, name: str, samples: _Samples, notes: list[str]) -> _Found:
    got = answers(emit(network), samples.judging, fused=False)
    return _Found(network=network, name=name, sqnr_db=sqnr_db(samples.truth, got), notes=notes)


def _corrected(model: Any, network: Network, samples: _Samples, budget: Budget) -> Network | None:
    """A copy with the means of the float network behind every layer; None when the tool changed the layers, so that they cannot be compared one by one."""
    names = {layer.name for layer in network.layers}
    reference = prepare(model)
    rest = frozenset(layer.name for layer in reference.layers if layer.name not in names)
    if rest:
        reference = prepare(model, float_layers=rest)
    if _forms(network.layers) != _forms(reference.layers):
        return None
    elements = channel_ranges(reference, samples.fitting.first(SIZED_BY)).elements
    few = samples.fitting.first(affordable(reference, elements, budget, samples.fitting.count))
    seen = samplers(reference.graph, reference.layers)
    changed = copy.copy(network)
    # The curves are the float network's: a Clip that the tool left to its quantiser came back as Relu.
    curves = {layer.name: layer.curve for layer in reference.layers}
    changed.layers = [replace(layer, curve=curves[layer.name]) for layer in network.layers]
    correct_biases(changed, seen, _means(reference.graph.model, reference.layers, seen, few), few)
    return changed


def _forms(layers: list[Layer]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {layer.name: (layer.kind, layer.weight.shape) for layer in layers}


def _means(model: Any, layers: list[Layer], seen: dict[str, Sampler], feeds: Feeds) -> dict[str, Array]:
    """Mean of each channel's answers behind the activation, [O] by layer name."""
    sums: dict[str, Array] = {layer.name: np.zeros(layer.channels) for layer in layers}
    counts = dict.fromkeys(sums, 0)

    def visit(_: int, tensors: dict[str, Array]) -> None:
        for layer in layers:
            answer = layer.curve.apply(seen[layer.name].look(tensors[layer.linear]))
            sums[layer.name] += answer.sum(axis=1, dtype=np.float64)
            counts[layer.name] += answer.shape[1]

    run_taps(model, [layer.linear for layer in layers], feeds, visit)
    return {name: total / counts[name] for name, total in sums.items()}
