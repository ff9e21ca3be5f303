"""Operators that move values, and those along axes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.from_tflite.importing import Import, Importing
from edgeopt.compiler.convert.from_tflite.lite import LiteOperator
from edgeopt.compiler.convert.tflite.orders import gathered, groups_of, in_memory, order_after, plain, without

REDUCTIONS = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}

SYMMETRIC = 1
"""The schema's MirrorPadMode; the other is REFLECT."""


def reshape(importing: Importing, operator: LiteOperator) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the answer's shape is known. Where axes stay together nothing is moved."""
    source, target = operator.inputs[0], operator.outputs[0]
    shape, wanted = importing.shape(source), importing.shape(target)
    groups = groups_of(shape, wanted)
    order = gathered(importing.order(source), groups)
    after = order_after(shape, order, wanted, groups)
    made = importing.reshape(importing.read(source, order), in_memory(wanted, after))
    importing.answer(operator, after, made, computed=False)


def sizes(importing: Importing, operator: LiteOperator) -> None:
    """SHAPE: files are read for one size."""
    dtype = importing.tensor(operator.outputs[0]).dtype
    shape = importing.shape(operator.inputs[0])
    importing.put(operator.outputs[0], plain(1), importing.constant(np.asarray(shape, dtype)))


def transpose(importing: Importing, operator: LiteOperator) -> None:
    """Nothing is moved: the same data, read with other axes."""
    source = operator.inputs[0]
    permutation, order = importing.numbers(operator, 1), importing.order(source)
    importing.answer(operator, tuple(permutation.index(axis) for axis in order), importing.read(source), computed=False)


def concatenation(importing: Importing, operator: LiteOperator) -> None:
    """Joined along an axis."""
    rank = importing.rank(operator.outputs[0])
    order = importing.common_order(operator.inputs, rank)
    axis = order.index(int(operator.options["axis"]) % rank)
    made = importing.node("Concat", [importing.read(number, order) for number in operator.inputs], axis=axis)
    importing.answer(operator, order, made, computed=False)


def pack(importing: Importing, operator: LiteOperator) -> None:
    """Joined along an axis of their own."""
    shape = list(importing.shape(operator.outputs[0]))
    axis = int(operator.options["axis"]) % len(shape)
    shape[axis] = 1
    parts = [importing.reshape(importing.read(n, plain(importing.rank(n))), tuple(shape)) for n in operator.inputs]
    importing.answer(operator, plain(len(shape)), importing.node("Concat", parts, axis=axis), computed=False)


def split(importing: Importing, operator: LiteOperator) -> None:
    """SPLIT has its axis before the data, SPLIT_V behind; UNPACK drops it."""
    packed = operator.kind == "UNPACK"
    place = {"SPLIT": 1}.get(operator.kind, 0)
    source = operator.inputs[place]
    order = importing.order(source) if not packed else plain(importing.rank(source))
    axis = int(operator.options["axis"]) if packed else importing.numbers(operator, 0 if place else 2)[0]
    axis %= len(order)
    data, begin = importing.read(source, order), 0
    for number in operator.outputs:
        size = 1 if packed else importing.shape(number)[axis]
        bounds = [importing.ints([each]) for each in (begin, begin + size, order.index(axis))]
        made = importing.node("Slice", [data, *bounds])
        begin += size
        importing.put(
            number,
            plain(importing.rank(number)) if packed else order,
            importing.reshape(made, importing.shape(number)) if packed else made,
        )


def cut(importing: Importing, operator: LiteOperator) -> None:
    """SLICE: beginnings and sizes, of which -1 is the rest."""
    source = operator.inputs[0]
    order, shape = importing.order(source), importing.shape(source)
    begins, sizes = importing.numbers(operator, 1), importing.numbers(operator, 2)
    ends = [b + s if s >= 0 else n for b, s, n in zip(begins, sizes, shape, strict=True)]
    _slice(importing, operator, [(begins[axis], ends[axis], 1) for axis in order])


def _slice(importing: Importing, operator: LiteOperator, ranges: list[tuple[int, int, int]]) -> None:
    """By ranges along the axes as they lie."""
    source = operator.inputs[0]
    begins, ends, steps = (importing.ints([each[part] for each in ranges]) for part in range(3))
    axes = importing.ints(range(len(ranges)))
    made = importing.node("Slice", [importing.read(source), begins, ends, axes, steps])
    importing.answer(operator, importing.order(source), made, computed=False)


def strided(importing: Importing, operator: LiteOperator) -> None:
    """STRIDED_SLICE; axes that it drops are dropped behind it."""
    options, source, target = operator.options, operator.inputs[0], operator.outputs[0]
    if options.get("ellipsisMask") or options.get("newAxisMask") or options.get("offset"):
        raise operator.refuse("it leaves out axes or makes new ones")
    shape, rank = importing.shape(source), importing.rank(source)
    given = [importing.numbers(operator, place) for place in (1, 2, 3)]
    ranges = []
    for axis in range(rank):
        begin, end, step = (values[axis] if axis < len(values) else None for values in given)
        masked = [axis >= len(given[0]) or bool(options.get(name, 0) >> axis & 1) for name in ("beginMask", "endMask")]
        shrunk = bool(options.get("shrinkAxisMask", 0) >> axis & 1)
        bounds = slice(None if masked[0] else begin, None if masked[1] or shrunk else end, step or 1).indices(
            shape[axis]
        )
        ranges.append((bounds[0], bounds[0] + 1, 1) if shrunk else bounds)
    order = plain(rank)
    data = importing.read(source, order)
    parts = [importing.ints([each[part] if each[part] >= 0 else -(1 << 31) for each in ranges]) for part in range(2)]
    made = importing.node(
        "Slice", [data, *parts, importing.ints(range(rank)), importing.ints([each[2] for each in ranges])]
    )
    if importing.rank(target) != rank:
        made = importing.reshape(made, importing.shape(target))
    importing.answer(operator, plain(importing.rank(target)), made, computed=False)


def pad(importing: Importing, operator: LiteOperator) -> None:
    """PAD, PADV2 with a value, MIRROR_PAD."""
    source = operator.inputs[0]
    order = importing.order(source)
    pairs = importing.value(operator, 1).reshape(-1, 2)
    sizes = importing.ints([int(pairs[axis][side]) for side in (0, 1) for axis in order])
    inputs, mode = [importing.read(source), sizes], "constant"
    if operator.kind == "PADV2":
        inputs.append(importing.constant(importing.value(operator, 2).reshape(())))
    if operator.kind == "MIRROR_PAD":
        mode = "reflect"
        if operator.options["mode"] == SYMMETRIC:
            raise operator.refuse("it mirrors the border itself")
    importing.answer(operator, order, importing.node("Pad", inputs, mode=mode), computed=False)


def gather(importing: Importing, operator: LiteOperator) -> None:
    """Entries along an axis by their numbers."""
    source, indices = operator.inputs
    if operator.options.get("batchDims"):
        raise operator.refuse("it looks up in each entry of a batch by itself")
    rank = importing.rank(source)
    names = [importing.read(source, plain(rank)), importing.read(indices, plain(importing.rank(indices)))]
    made = importing.node("Gather", names, axis=int(operator.options["axis"]) % rank)
    importing.answer(operator, plain(importing.rank(operator.outputs[0])), made, computed=False)


def gather_entries(importing: Importing, operator: LiteOperator) -> None:
    """GATHER_ND: entries by their places along the first axes."""
    names = [importing.read(number, plain(importing.rank(number))) for number in operator.inputs]
    if importing.tensor(operator.inputs[1]).dtype != "int64":
        names[1] = importing.node("Cast", [names[1]], to=importing.onnx.TensorProto.INT64)
    made = importing.node("GatherND", names)
    importing.answer(operator, plain(importing.rank(operator.outputs[0])), made, computed=False)


def stretched(importing: Importing, operator: LiteOperator) -> None:
    """BROADCAST_TO and TILE."""
    source, target = operator.inputs[0], operator.outputs[0]
    data = importing.read(source, plain(importing.rank(source)))
    kind = "Tile" if operator.kind == "TILE" else "Expand"
    numbers = importing.numbers(operator, 1) if kind == "Tile" else list(importing.shape(target))
    importing.answer(
        operator, plain(importing.rank(target)), importing.node(kind, [data, importing.ints(numbers)]), computed=False
    )


def reduction(importing: Importing, operator: LiteOperator) -> None:
    """Along some axes, which stay as 1 or go."""
    source = operator.inputs[0]
    order, rank = importing.order(source), importing.rank(source)
    axes = sorted({axis % rank for axis in importing.numbers(operator, 1)})
    keep = bool(operator.options.get("keepDims"))
    places = sorted(order.index(axis) for axis in axes)
    inputs = [importing.read(source)]
    if operator.kind == "SUM":
        made = importing.node("ReduceSum", [*inputs, importing.ints(places)], keepdims=int(keep))
    else:
        made = importing.node(REDUCTIONS[operator.kind], inputs, axes=places, keepdims=int(keep))
    importing.answer(operator, order if keep else without(order, set(axes)), made)


def softmax(importing: Importing, operator: LiteOperator) -> None:
    """Over the last axis, wherever it lies."""
    source = operator.inputs[0]
    order, name = importing.order(source), importing.read(source)
    beta = float(operator.options.get("beta", 1.0))
    if operator.kind == "SOFTMAX" and beta != 1.0:
        name = importing.node("Mul", [name, importing.constant(np.asarray(beta, np.float32))])
    kind = "Softmax" if operator.kind == "SOFTMAX" else "LogSoftmax"
    importing.answer(operator, order, importing.node(kind, [name], axis=order.index(len(order) - 1)), computed=False)


def largest_place(importing: Importing, operator: LiteOperator) -> None:
    """ARG_MAX and ARG_MIN."""
    source, target = operator.inputs[0], operator.outputs[0]
    order = importing.order(source)
    axis = importing.numbers(operator, 1)[0] % len(order)
    kind = "ArgMax" if operator.kind == "ARG_MAX" else "ArgMin"
    made = importing.node(kind, [importing.read(source)], axis=order.index(axis), keepdims=0)
    if importing.tensor(target).dtype != "int64":
        kind_of = importing.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(importing.tensor(target).dtype))
        made = importing.node("Cast", [made], to=kind_of)
    importing.put(target, without(order, {axis}), made)


TABLE: Mapping[str, Import] = MappingProxyType(
    dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), reshape)
    | dict.fromkeys(("SPLIT", "SPLIT_V", "UNPACK"), split)
    | dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), pad)
    | dict.fromkeys(("BROADCAST_TO", "TILE"), stretched)
    | dict.fromkeys(REDUCTIONS, reduction)
    | dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), softmax)
    | dict.fromkeys(("ARG_MAX", "ARG_MIN"), largest_place)
    | {
        "SHAPE": sizes,
        "TRANSPOSE": transpose,
        "CONCATENATION": concatenation,
        "PACK": pack,
        "SLICE": cut,
        "STRIDED_SLICE": strided,
        "GATHER": gather,
        "GATHER_ND": gather_entries,
    }
)
