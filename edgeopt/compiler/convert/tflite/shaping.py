"""Operators that move values and make none."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Array, Node
from edgeopt.compiler.convert.tflite.orders import (
    NHWC,
    Order,
    gathered,
    groups_of,
    in_memory,
    lie_together,
    order_after,
    plain,
)

MANY = 1 << 60
"""Ends beyond this mean `to the end`."""


def transpose(lowering: Lowering, node: Node) -> None:
    """Nothing is moved: the same data, read with other axes."""
    source, target = node.inputs[0], node.outputs[0]
    rank = lowering.rank(source)
    permutation = list(node.attributes.get("perm", range(rank)[::-1]))
    lowering.read(source)
    forms = lowering.forms.get(source) or {plain(rank): lowering.read(source)}
    lowering.forms[target] = {tuple(permutation.index(axis) for axis in order): index for order, index in forms.items()}


def reshape(lowering: Lowering, node: Node) -> None:
    """Other axes. Where these are parts or products of neighbours, data stays where it lies; a matrix that only products by constants read stays, too, and their weights are moved."""
    source, target = node.inputs[0], node.outputs[0]
    shape, wanted = lowering.shape(source), lowering.shape(target)
    order = lowering.order(source)
    groups = groups_of(shape, wanted)
    if not lie_together(shape, order, groups) and _only_dense(lowering, target):
        places = np.arange(int(np.prod(shape))).reshape(shape).transpose(order).reshape(wanted)
        lowering.columns[target] = places[0] % wanted[1]
        lowering.put(target, plain(2), lowering.reshape(lowering.read(source, order), wanted))
        return
    order = gathered(order, groups)
    after = order_after(shape, order, wanted, groups)
    lowering.put(target, after, lowering.reshape(lowering.read(source, order), in_memory(wanted, after)))


def _only_dense(lowering: Lowering, name: str) -> bool:
    shape = lowering.shape(name)
    readers = lowering.readers.get(name, [])
    return (
        len(shape) == 2
        and shape[0] == 1
        and bool(readers)
        and name not in lowering.network.outputs
        and all(reader.kind == "Dense" and reader.inputs[0] == name for reader in readers)
    )


def concatenate(lowering: Lowering, node: Node) -> None:
    """Joined along an axis."""
    target = node.outputs[0]
    rank = lowering.rank(target)
    order = lowering.common_order(node.inputs, rank)
    axis = order.index(int(node.attributes["axis"]) % rank)
    names = [name for name in node.inputs if 0 not in lowering.shape(name)]
    inputs = [lowering.read(name, order) for name in names]
    lowering.write(target, order, "CONCATENATION", inputs, axis=axis, fusedActivationFunction=0)


def split(lowering: Lowering, node: Node) -> None:
    """Cut along an axis: in equal parts by one operator, else by one for each part."""
    source = node.inputs[0]
    order = lowering.order(source)
    data = lowering.read(source, order)
    axis = int(node.attributes.get("axis", 0)) % len(order)
    place = order.index(axis)
    sizes = [lowering.shape(name)[axis] for name in node.outputs]
    if len(set(sizes)) == 1 and all(node.outputs):
        made = [
            lowering.file.tensor(
                name, in_memory(lowering.shape(name), order), lowering.network.dtypes[name], lowering.quant(name)
            )
            for name in node.outputs
        ]
        lowering.file.operator(
            "SPLIT",
            [lowering.file.constant("numbers", np.asarray(place, np.int32)), data],
            made,
            {"numSplits": len(sizes)},
        )
        for name, index in zip(node.outputs, made, strict=True):
            lowering.put(name, order, index)
        return
    begin = 0
    for name, size in zip(node.outputs, sizes, strict=True):
        _cut(lowering, name, order, data, {place: begin})
        begin += size


def _cut(lowering: Lowering, target: str, order: Order, data: int, begins: Mapping[int, int]) -> None:
    """A part of neighbours, as large as the answer is; `begins` by axes in memory."""
    size = in_memory(lowering.shape(target), order)
    begin = [begins.get(place, 0) for place in range(len(order))]
    if size == lowering.file.shape(data):
        lowering.put(target, order, data)
        return
    lowering.write(target, order, "SLICE", [data, lowering.ints(begin), lowering.ints(size)])


def cut(lowering: Lowering, node: Node) -> None:
    """Slice, by constants."""
    source, target = node.inputs[0], node.outputs[0]
    shape, order = lowering.shape(source), lowering.order(source)
    begins, ends, axes, steps = _bounds(lowering, node, len(shape))
    ranges = {
        axis: slice(b, _end(e, s), s).indices(shape[axis])
        for b, e, axis, s in zip(begins, ends, axes, steps, strict=True)
    }
    data = lowering.read(source, order)
    if all(step == 1 for _, _, step in ranges.values()):
        _cut(lowering, target, order, data, {order.index(axis): begin for axis, (begin, _, _) in ranges.items()})
        return
    whole = [ranges.get(axis, (0, shape[axis], 1)) for axis in order]
    # A step back past the first entry has no end that the operator could be given: it is told to go on.
    mask = sum(1 << place for place, (_, end, _) in enumerate(whole) if end < 0)
    columns = [lowering.ints([bounds[part] for bounds in whole]) for part in range(3)]
    lowering.write(target, order, "STRIDED_SLICE", [data, *columns], endMask=mask)


def _end(end: int, step: int) -> int | None:
    if step < 0 and end < -MANY:
        return None
    return end


def _bounds(lowering: Lowering, node: Node, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    if "starts" in node.attributes:
        begins, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = node.attributes.get("axes"), None
    else:
        begins, ends = lowering.numbers(node, 1) or [], lowering.numbers(node, 2) or []
        axes, steps = lowering.numbers(node, 3), lowering.numbers(node, 4)
    return begins, ends, [axis % rank for axis in axes or range(len(begins))], steps or [1] * len(begins)


def pad(lowering: Lowering, node: Node) -> None:
    """Constants or mirrored values around it."""
    source, target = node.inputs[0], node.outputs[0]
    rank, order = lowering.rank(source), lowering.order(source)
    pairs = _paddings(lowering, node, rank)
    if any(size < 0 for pair in pairs for size in pair):
        raise node.refuse("its padding cannot be negative")
    table = lowering.table([pairs[axis] for axis in order])
    mode = bytes(node.attributes.get("mode", b"constant"))
    data = lowering.read(source, order)
    if mode == b"reflect":
        lowering.write(target, order, "MIRROR_PAD", [data, table], mode=lowering.file.schema.MirrorPadMode.REFLECT)
    elif mode != b"constant":
        raise node.refuse(f"its padding has no mode {mode.decode(errors='replace')!r}")
    elif _filler(lowering, node) == 0:
        lowering.write(target, order, "PAD", [data, table])
    elif lowering.quant(source) is not None:
        raise node.refuse("in int8 it pads with 0 only")
    else:
        value = lowering.file.constant("filler", np.asarray([_filler(lowering, node)], lowering.network.dtypes[source]))
        lowering.write(target, order, "PADV2", [data, table, value])


def _paddings(lowering: Lowering, node: Node, rank: int) -> list[tuple[int, int]]:
    numbers = list(node.attributes["pads"]) if "pads" in node.attributes else lowering.numbers(node, 1) or []
    axes = lowering.numbers(node, 3) or list(range(rank))
    pairs = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        pairs[axis % rank] = (numbers[place], numbers[place + len(axes)])
    return pairs


def _filler(lowering: Lowering, node: Node) -> float:
    if len(node.inputs) > 2 and node.inputs[2]:
        value = lowering.value(node.inputs[2])
        if value is None:
            raise node.refuse("its value depends on the model's inputs")
        return float(value.reshape(-1)[0])
    return float(node.attributes.get("value", 0.0))


def gather(lowering: Lowering, node: Node) -> None:
    """Entries along an axis by their numbers."""
    source, indices, target = node.inputs[0], node.inputs[1], node.outputs[0]
    rank = lowering.rank(source)
    axis = int(node.attributes.get("axis", 0)) % rank
    known = lowering.value(indices)
    if known is None:
        picked = lowering.read(indices, plain(lowering.rank(indices)))
    else:
        picked = lowering.file.constant("numbers", _counted(known, lowering.shape(source)[axis]))
    order = lowering.order(source)
    if lowering.rank(indices) != 1:
        order = plain(rank)
    lowering.write(
        target,
        order if lowering.rank(indices) == 1 else plain(lowering.rank(target)),
        "GATHER",
        [lowering.read(source, order), picked],
        axis=order.index(axis),
    )


def _counted(numbers: Array, size: int) -> Array:
    """From the beginning, where they count from the end."""
    return np.where(numbers < 0, numbers + size, numbers).astype(np.int32)


def expand(lowering: Lowering, node: Node) -> None:
    """Stretched along axes of 1."""
    source, target = node.inputs[0], node.outputs[0]
    rank = lowering.rank(target)
    order = lowering.common_order([source], rank)
    shape = in_memory(lowering.shape(target), order)
    data = lowering.read_as(source, rank, order)
    if lowering.file.shape(data) == shape:
        lowering.put(target, order, data)
    else:
        lowering.write(target, order, "BROADCAST_TO", [data, lowering.ints(shape)])


def tile(lowering: Lowering, node: Node) -> None:
    """Repeated along each axis."""
    source, target = node.inputs[0], node.outputs[0]
    order = lowering.order(source)
    repeats = lowering.numbers(node, 1) or []
    lowering.write(
        target, order, "TILE", [lowering.read(source, order), lowering.ints([repeats[axis] for axis in order])]
    )


def depth_to_space(lowering: Lowering, node: Node) -> None:
    """Channels to places, block by block (ONNX's DCR, see `rewrite` for CRD)."""
    data = lowering.read(node.inputs[0], NHWC)
    lowering.write(node.outputs[0], NHWC, "DEPTH_TO_SPACE", [data], blockSize=int(node.attributes["blocksize"]))


def space_to_depth(lowering: Lowering, node: Node) -> None:
    """Places to channels."""
    data = lowering.read(node.inputs[0], NHWC)
    lowering.write(node.outputs[0], NHWC, "SPACE_TO_DEPTH", [data], blockSize=int(node.attributes["blocksize"]))


TABLE: Mapping[str, Lower] = MappingProxyType(
    {
        "Transpose": transpose,
        "Reshape": reshape,
        "Concat": concatenate,
        "Split": split,
        "Slice": cut,
        "Pad": pad,
        "Gather": gather,
        "Expand": expand,
        "Tile": tile,
        "DepthToSpace": depth_to_space,
        "SpaceToDepth": space_to_depth,
    }
)
