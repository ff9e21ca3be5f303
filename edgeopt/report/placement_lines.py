"""Sentences on nodes that ran elsewhere, or otherwise, than they were asked to."""

from __future__ import annotations

from edgeopt.domain.coverage import FLOAT_PRODUCTS, INTEGER_PRODUCTS
from edgeopt.domain.run import Candidate, OutputCheck, Run

OPENVINO_PRODUCTS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
INTEGERS, FLOATS = frozenset({"i8", "u8"}), frozenset({"f32", "f16", "bf16"})
"""Precisions, in its words."""


def placement_lines(run: Run) -> tuple[str, ...]:
    """Return a sentence for every candidate of which a part, or all, ran on another provider than its setting names; and for every int8 one that mostly computed in float there."""
    checks = {check.candidate: check for check in run.output_checks}
    encodings = {variant.name: variant.recipe.encoding for variant in run.variants}
    lines = []
    for candidate in run.candidates:
        check = checks.get(candidate.id)
        lines += [_line(candidate, check, _used(run, candidate.id))]
        lines += [_in_name_only(candidate, check) if encodings.get(candidate.variant, "").startswith("int8") else None]
    return tuple(line for line in lines if line is not None)


def _in_name_only(candidate: Candidate, check: OutputCheck | None) -> str | None:
    """The board's runtime fuses by the rules of its own version; the host could only ask the one that it has."""
    counts = (check.placement if check is not None else None) or {}
    kinds = [(kind, nodes) for kernels in counts.values() for kind, nodes in kernels.items()]
    integer = sum(nodes for kind, nodes in kinds if kind in INTEGER_PRODUCTS or _is_openvinos(kind, INTEGERS))
    floating = sum(nodes for kind, nodes in kinds if kind in FLOAT_PRODUCTS or _is_openvinos(kind, FLOATS))
    if integer >= floating:
        return None
    return f"{candidate.id}: {integer} of {integer + floating} products ran in int8 on the device, its runtime computes the others in float"


def _is_openvinos(kind: str, precisions: frozenset[str]) -> bool:
    """Tell whether a kernel is a product of OpenVINO's, `Convolution u8`, that computes in one of these."""
    layer, _, precision = kind.partition(" ")
    return layer in OPENVINO_PRODUCTS and precision in precisions


def _used(run: Run, candidate: str) -> str | None:
    return next(
        (block.provider_used for block in run.blocks if block.candidate == candidate and block.provider_used), None
    )


def _line(candidate: Candidate, check: OutputCheck | None, used: str | None) -> str | None:
    wanted = candidate.setting.provider
    if used is not None and used != wanted:
        return f"{candidate.id}: {wanted} is not in the device's runtime, all of it ran on {used}"
    placement = check.placement if check is not None else None
    if not placement:
        return None
    totals = {name: sum(kernels.values()) for name, kernels in placement.items()}
    elsewhere = {name: count for name, count in totals.items() if name != wanted}
    if not elsewhere:
        return None
    nodes = ", ".join(f"{count} on {name}" for name, count in sorted(elsewhere.items()))
    return f"{candidate.id}: of {sum(totals.values())} nodes, {nodes}, not on {wanted}"
