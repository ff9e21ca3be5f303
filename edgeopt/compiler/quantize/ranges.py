"""The range of each activation quantiser: everything that was seen, or the part of it that costs the least. Child side.

A narrower range has finer steps and cuts what lies outside. The expected squared error of both is read off a histogram:
step^2 / 12 for what lies inside (uniform rounding noise) plus the squared distance for what lies outside (Sung et al. 2015; the objective of OCTAV, Sakr et al., ICML 2022,
solved by search). Values that are exactly 0 cost nothing in any range and do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgeopt.compiler.quantize.curve import Curve
from edgeopt.compiler.quantize.emit import LEVELS, Scale, scale_for
from edgeopt.compiler.quantize.encoding import U8S8, Encoding
from edgeopt.compiler.quantize.graph import Array
from edgeopt.compiler.quantize.observe import ChannelRanges
from edgeopt.compiler.quantize.placement import Placement

BINS = 2048
LOOKED_AT = 1 << 15
"""Values of a tensor that a sample adds to the histogram."""

SHARES = np.linspace(1.0, 0.3, 71)
"""Of each end of the range; what is tried."""


class Histograms:
    """Counts of the values of tensors over ranges that are known beforehand."""

    def __init__(self, ranges: ChannelRanges, names: Iterable[str]) -> None:
        self.edges = {name: ranges.range([name]) for name in sorted(names)}
        self.counts = {name: np.zeros(BINS) for name in self.edges}
        self.chooser = np.random.default_rng(0)

    def visit(self, _number: int, tensors: dict[str, Array]) -> None:
        """Take one sample."""
        for name, counts in list(self.counts.items()):
            low, high = self.edges[name]
            if high <= low or name not in tensors:
                continue
            values = tensors[name].reshape(-1)
            if values.size > LOOKED_AT:
                start = int(self.chooser.integers(0, values.size // LOOKED_AT + 1))
                values = values[start :: values.size // LOOKED_AT + 1]
            values = values[values != 0.0]
            where = ((values - low) * (BINS / (high - low))).astype(np.int64)
            self.counts[name] = counts + np.bincount(np.clip(where, 0, BINS - 1), minlength=BINS)


def widest(placement: Placement, ranges: ChannelRanges) -> dict[str, Scale]:
    """Every quantiser over all that was seen."""
    encoding = placement.encoding
    scales = {lead: scale_for(*ranges.range(members), encoding) for lead, members in placement.groups().items()}
    return scales | {head: head_scale(ranges.low[head], ranges.high[head]) for head in placement.heads}


def cheapest(
    placement: Placement, ranges: ChannelRanges, histograms: Histograms, curves: Mapping[str, Curve]
) -> dict[str, Scale]:
    """Every quantiser over the range that costs least; heads as they are, because each channel has its own there.

    `curves`: by tensor, what its only reader makes of it: an error counts as much as it still is behind it.
    """
    scales = widest(placement, ranges)
    for lead, members in placement.groups().items():
        if lead in placement.heads:
            continue
        values, counts = _merged(histograms, members)
        if counts.sum() > 0:
            if len(members) == 1 and lead in curves:
                counts = counts * np.square(curves[lead].slope(values))
            encoding = placement.encoding
            scales[lead] = scale_for(*least_error_range(values, counts, *ranges.range(members), encoding), encoding)
    return scales


def head_scale(low: Array, high: Array) -> Scale:
    """One scale for each channel, one zero for all: at the end where nothing is below 0, else in the middle."""
    if float(low.min()) >= 0.0:
        return Scale(scale=_positive(high / LEVELS), zero=np.zeros(len(high), np.int32))
    return Scale(scale=_positive(np.maximum(-low / 128, high / 127)), zero=np.full(len(high), 128, np.int32))


def least_error_range(
    values: Array, counts: Array, low: float, high: float, encoding: Encoding = U8S8
) -> tuple[float, float]:
    """Search both ends in turn, or together where they must be alike. values: bin centres; counts: how often; low <= 0 <= high."""
    if encoding.symmetric:
        top = max(-low, high)
        return min(
            ((-top * share, top * share) for share in SHARES),
            key=lambda ends: _error(values, counts, ends, encoding.levels),
        )
    best = (low, high)
    for _ in range(2):
        for end in (0, 1):
            tried = [(low * share, best[1]) if end == 0 else (best[0], high * share) for share in SHARES]
            best = min(tried, key=lambda ends: _error(values, counts, ends, encoding.levels))
    return best


def _error(values: Array, counts: Array, ends: tuple[float, float], levels: int) -> float:
    low, high = ends
    step = (high - low) / levels
    outside = np.maximum(low - values, 0.0) + np.maximum(values - high, 0.0)
    inside = outside == 0.0
    return float((counts * (inside * step * step / 12.0 + outside * outside)).sum())


def _merged(histograms: Histograms, members: list[str]) -> tuple[Array, Array]:
    """Bin centres and counts of several tensors together."""
    values, counts = [], []
    for name in members:
        if name in histograms.counts:
            low, high = histograms.edges[name]
            values.append(low + (np.arange(BINS) + 0.5) * (high - low) / BINS)
            counts.append(histograms.counts[name])
    return (np.concatenate(values), np.concatenate(counts)) if values else (np.zeros(1), np.zeros(1))


def _positive(scale: Array) -> Array:
    """A channel that was 0 in every sample gets the coarsest step of the others: as exact for those samples, and not mute for the next one."""
    coarsest = float(scale.max()) or 1.0 / LEVELS
    return np.where(scale > 0.0, scale, coarsest).astype(np.float32)
