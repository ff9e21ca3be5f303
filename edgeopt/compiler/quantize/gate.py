"""The fusion gate: is what was promised in int8 really run in int8? Pure: from what the runtime made of the file to what is to be done.

A product between conversions that does not fuse computes in float and converts besides, which is slower than float alone. So what does not fuse is better left in
float together with its quantisers; and where little is left in int8 then, the variant is not what its name says.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from edgeopt.domain.coverage import Coverage

ENOUGH = 0.95
"""Share of the multiplications that were to be int8: with so much, what does not fuse costs no more than measuring can tell."""

LEAST = 0.5
"""With less in int8, after the repair, the variant is refused: it would be measured for nothing, and installed under a wrong name."""


def to_leave_in_float(covered: Coverage, intended: AbstractSet[str], *, arm: bool) -> frozenset[str]:
    """Names of the layers whose conversions are to go, so that they are plain float; empty where enough fuses.

    Args:
        covered: what the runtime makes of the file.
        intended: names of the layers that are int8 in the file.
        arm: by the rules for ARM.
    """
    if covered.share(arm=arm, of=intended) >= ENOUGH:
        return frozenset()
    return frozenset(p.name for p in covered.products if p.name in intended and not (p.arm if arm else p.x86))


def verdict(covered: Coverage, intended: AbstractSet[str], *, arm: bool) -> tuple[bool, str | None]:
    """Whether a file is still what it is called, and the sentence that belongs to it where not all is well.

    Args:
        covered: what the runtime makes of the file.
        intended: names of the layers that the recipe wanted in int8.
        arm: by the rules for ARM.
    """
    share = covered.share(arm=arm, of=intended)
    if share >= ENOUGH:
        return True, None
    rules = "ARM" if arm else "x86"
    found = f"{100 * share:.0f} % of the multiplications that were to be int8 run in int8 by the {rules} rules of onnxruntime {covered.runtime_version}"
    if share < LEAST:
        return False, f"only {found}: in int8 conversions would cost more than they bring"
    return True, f"only {found}; the rest computes in float"
