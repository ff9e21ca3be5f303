"""What pruning did, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10, prod
from typing import Any

from edgeopt.compiler.prune.damage import Damage
from edgeopt.compiler.quantize.graph import Array

MOST_NAMED = 4


def agreement_words(damage: Damage) -> str:
    """How far it is from the original."""
    if damage.agreement is not None:
        return f"the same first class in {100 * damage.agreement:.0f} %, KL {damage.value:.3f}"
    return f"error {_decibels(damage.value)} below the answers' own variation"


def _decibels(share: float) -> str:
    return "-inf dB" if share <= 0.0 else f"{-10.0 * log10(share):.1f} dB"


def blocks_words(blocks: Sequence[str], *, gone: bool) -> str:
    """What is gone whole, or is one convolution, with a semicolon behind it; empty where nothing is."""
    if not blocks:
        return ""
    few = len(blocks) == 1
    named = f"the block{'' if few else 's'} that end{'s' if few else ''} in {', '.join(blocks)}"
    return f"without {named}; " if gone else f"one convolution for {'' if few else 'each of '}{named}; "


def widths_words(rows: Mapping[str, Array]) -> str:
    """The layers that lost most channels, with a semicolon behind them; empty where none did. `rows`: by name, which are left (bool [O])."""
    lost = [(int((~mask).sum()), len(mask), name) for name, mask in rows.items() if not mask.all()]
    lost.sort(key=lambda each: (-each[0], each[2]))
    named = ", ".join(f"{name} {whole} to {whole - count}" for count, whole, name in lost[:MOST_NAMED])
    more = f" and {len(lost) - MOST_NAMED} more layers" if len(lost) > MOST_NAMED else ""
    return f"channels of {named}{more}; " if lost else ""


def weights_words(smaller: Any, original: Any) -> str:
    """How much of the file's weights is left."""
    left, whole = (sum(prod(tensor.dims) for tensor in model.graph.initializer) for model in (smaller, original))
    return f"{100 * left / max(1, whole):.0f} % of the weights are left"
