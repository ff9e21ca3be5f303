"""How the axes of a tensor lie in memory against how another format counts them, and what of that a reshape keeps. Pure."""

from __future__ import annotations

from math import prod

Shape = tuple[int, ...]
Order = tuple[int, ...]
"""Which of the other format's axes each axis in memory is."""

Groups = list[tuple[list[int], list[int]]]
"""Axes before and after a reshape that have the same entries."""

NHWC: Order = (0, 2, 3, 1)
NCHW: Order = (0, 3, 1, 2)


def plain(rank: int) -> Order:
    """The other format's own."""
    return tuple(range(rank))


def in_memory(shape: Shape, order: Order) -> Shape:
    """Sizes as they lie in memory."""
    return tuple(shape[axis] for axis in order)


def wide_axes(shape: Shape, order: Order) -> list[int]:
    """The axes that matter to where a value lies: those longer than 1."""
    return [axis for axis in order if shape[axis] != 1]


def without(order: Order, gone: set[int]) -> Order:
    """The order that is left when axes go."""
    kept = [axis for axis in order if axis not in gone]
    ranks = {axis: place for place, axis in enumerate(sorted(kept))}
    return tuple(ranks[axis] for axis in kept)


def groups_of(shape: Shape, wanted: Shape) -> Groups:
    """The smallest groups of equal products; axes of 1 are in none."""
    left = [axis for axis, size in enumerate(shape) if size != 1]
    right = [axis for axis, size in enumerate(wanted) if size != 1]
    groups: Groups = []
    while left or right:
        ins, outs = [left.pop(0)], [right.pop(0)]
        while (here := prod(shape[axis] for axis in ins)) != (there := prod(wanted[axis] for axis in outs)):
            if here < there:
                ins.append(left.pop(0))
            else:
                outs.append(right.pop(0))
        groups.append((ins, outs))
    return groups


def lie_together(shape: Shape, order: Order, groups: Groups) -> bool:
    """Whether every group lies together and in its own order."""
    lying = wide_axes(shape, order)
    return all(lying[(start := lying.index(ins[0])) : start + len(ins)] == ins for ins, _ in groups)


def gathered(order: Order, groups: Groups) -> Order:
    """The nearest order in which every group lies together, groups as their first axes lie."""
    ranked = sorted(groups, key=lambda group: min(order.index(axis) for axis in group[0]))
    used = [axis for ins, _ in ranked for axis in ins]
    if [axis for axis in order if axis in used] == used:
        return order
    return (*(axis for axis in range(len(order)) if axis not in used), *used)


def order_after(shape: Shape, order: Order, wanted: Shape, groups: Groups) -> Order:
    """How the answer of a reshape lies when every group lies together in `order`; axes of 1 are put where that makes it plain, else first."""
    lying = wide_axes(shape, order)
    ranked = sorted(groups, key=lambda group: lying.index(group[0][0]))
    wide = [axis for _, outs in ranked for axis in outs]
    if wide == sorted(wide):
        return plain(len(wanted))
    return (*(axis for axis, size in enumerate(wanted) if size == 1), *wide)
