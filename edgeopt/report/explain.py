"""What of a file runs in int8, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.domain.coverage import Coverage, Product
from edgeopt.report.cells import percent, safe
from edgeopt.report.documents import ExplainDocument

RULES = (("x86", False), ("ARM", True))


def explain_lines(document: ExplainDocument) -> Iterator[str]:
    """Yield the counts under both sets of rules, a line for every product that stays float under one of them, and how the variant was made."""
    covered = document.coverage
    yield safe(f"{document.variant or document.file}{f' ({document.encoding})' if document.encoding else ''}")
    if not covered.products:
        yield "it has no convolution and no matrix product"
    else:
        yield from (_count(covered, word, arm=arm) for word, arm in RULES)
    if covered.runtime_version:
        yield f"  as onnxruntime {covered.runtime_version} fuses them"
    yield from _float(covered)
    if document.notes:
        yield "how it was made:"
        yield from (safe(f"  {note}") for note in document.notes)


def _count(covered: Coverage, word: str, *, arm: bool) -> str:
    share = covered.arm_share if arm else covered.x86_share
    of = "" if share is None else f", {percent(share)} % of multiplications"
    islands = covered.arm_islands if arm else covered.x86_islands
    between = f"; {islands} places between them compute in float" if islands else ""
    return (
        f"  by the {word} rules {covered.fused(arm=arm)} of {len(covered.products)} products run in int8{of}{between}"
    )


def _float(covered: Coverage) -> Iterator[str]:
    left = [product for product in covered.products if not (product.x86 and product.arm)]
    if left:
        yield "float:"
    yield from (_line(product) for product in left)


def _line(p: Product) -> str:
    where = "" if p.x86 == p.arm else " by the ARM rules" if p.x86 else " by the x86 rules"
    size = "size unknown" if p.multiply_adds is None else f"{p.multiply_adds / 1e6:.2f} M multiplications"
    return safe(f"  {p.name} ({p.kind}, {size}){where}: {p.reason}")
