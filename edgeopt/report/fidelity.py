"""What compression costs, as a line for each variant: expected, certified, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgeopt.domain.variant import Built, Fidelity, Metric, Variant
from edgeopt.report.cells import percent, safe

METRICS: dict[Metric, str] = {
    "top1": "the same best class",
    "token_top1": "the same best token or tag, averaged over positions",
    "box_f1": "F1 of boxes (IoU 0.5 or more, same class)",
    "cell_f1": "F1 of confident cells",
    "miou": "mean intersection over union of masks",
    "one_minus_nrmse": "1 - normalised root mean squared error",
    "cosine": "mean cosine similarity",
}
"""What agreement means, in words."""


def fidelity_lines(variants: Sequence[Variant]) -> list[str]:
    """Return what agreement means here, and a line for every variant of which more is known than its agreement; [] when nothing was compared."""
    judged = [(v.name, v.fidelity) for v in variants if isinstance(v, Built) and v.fidelity is not None]
    changed = [(name, fidelity) for name, fidelity in judged if not fidelity.identical]
    if not changed:
        return []
    lines = [safe(f"  {name}: {'; '.join(told)}") for name, fidelity in changed if (told := list(_told(fidelity)))]
    return [*_heads(fidelity for _, fidelity in changed), *lines]


def _heads(judged: Iterable[Fidelity]) -> list[str]:
    words = dict.fromkeys(f"{METRICS[f.metric]}, {f.samples} {_kind(f)}" for f in judged)
    return [f"agrees: {'; '.join(words)}"]


def _kind(f: Fidelity) -> str:
    return "synthetic inputs; yours may agree less" if f.synthetic else "held-out samples"


def _told(f: Fidelity) -> Iterator[str]:
    if f.synthetic:
        yield "on synthetic inputs, so no loss of accuracy is claimed"
    drop = list(_drop(f))
    if drop:
        yield f"loss of accuracy {', '.join(drop)}"
    if f.neighbour_recall is not None:
        yield f"keeps {percent(f.neighbour_recall)} % of the nearest neighbours"
    if f.r2 is not None:
        yield f"R2 {f.r2:.4f}"
    worst = [f"{c.label} ({percent(c.agreement)} % of {c.samples})" for c in f.worst_clusters[:2]]
    if worst:
        yield f"worst on {', '.join(worst)}"


def _drop(f: Fidelity) -> Iterator[str]:
    """In points: 1 is one answer in a hundred."""
    if f.expected_drop is not None:
        yield f"{f.expected_drop * 100:.2f} points expected{_interval(f)}"
    if f.agreement_lower is not None:
        yield f"at most {(1.0 - f.agreement_lower) * 100:.2f} (95 % sure)"


def _interval(f: Fidelity) -> str:
    if f.expected_drop_low is None or f.expected_drop_high is None:
        return ""
    return f" ({f.expected_drop_low * 100:.2f} to {f.expected_drop_high * 100:.2f})"
