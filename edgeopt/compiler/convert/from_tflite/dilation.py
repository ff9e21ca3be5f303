"""Dilated convolutions that were written as three operators: the picture cut into interleaved ones, a convolution of each, and put together again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from edgeopt.compiler.convert.from_tflite.lite import LiteModel, LiteOperator

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
PADS = "explicitPads"
"""Among a convolution's options: what is put around the picture, (top, left, bottom, right)."""

VALID = 1
"""The schema's Padding."""


def with_dilations(model: LiteModel) -> LiteModel:
    """The same model with such convolutions as one operator each."""
    readers = Counter(number for operator in model.operators for number in operator.inputs)
    readers.update(model.outputs)
    makers = {number: operator for operator in model.operators for number in operator.outputs}
    made: dict[int, LiteOperator] = {}
    gone: set[int] = set()
    for last in model.operators:
        middle = makers.get(last.inputs[0]) if last.kind == "BATCH_TO_SPACE_ND" else None
        first = makers.get(middle.inputs[0]) if middle is not None and middle.kind in CONVOLUTIONS else None
        if middle is None or first is None or first.kind != "SPACE_TO_BATCH_ND":
            continue
        alone = all(readers[number] == 1 for number in (*middle.outputs, *first.outputs))
        joined = _joined(model, first, middle, last) if alone else None
        if joined is not None:
            made[id(last)] = joined
            gone |= {id(first), id(middle)}
    return replace(model, operators=tuple(made.get(id(each), each) for each in model.operators if id(each) not in gone))


def _joined(model: LiteModel, first: LiteOperator, middle: LiteOperator, last: LiteOperator) -> LiteOperator | None:
    """None where the convolution has steps of its own or sizes are computed."""
    values = [model.tensors[number].data for number in (*first.inputs[1:3], *last.inputs[1:3])]
    if any(value is None for value in values):
        return None
    block, pads, other, crops = ([int(number) for number in value.reshape(-1)] for value in values if value is not None)
    options = middle.options
    steps = [options[name] for name in ("strideH", "strideW", "dilationHFactor", "dilationWFactor")]
    if block != other or len(block) != 2 or any(step != 1 for step in steps) or options["padding"] != VALID:
        return None
    top, bottom, left, right = (pad - crop for pad, crop in zip(pads, crops, strict=True))
    if min(top, bottom, left, right) < 0:
        return None
    dilated = {"dilationHFactor": block[0], "dilationWFactor": block[1], PADS: (top, left, bottom, right)}
    return LiteOperator(
        kind=middle.kind,
        inputs=(first.inputs[0], *middle.inputs[1:]),
        outputs=last.outputs,
        options={**options, **dilated},
    )
