"""One ONNX graph, float or calibrated (QDQ), as ncnn's files and a description of the model's border. Child side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeopt.compiler.convert.converted import Converted
from edgeopt.compiler.convert.ncnn import program
from edgeopt.compiler.convert.ncnn.codes import CODES, float_border
from edgeopt.compiler.convert.ncnn.files import (
    FormatError,
    Layer,
    format_param,
    join_weights,
    parse_param,
    split_weights,
)
from edgeopt.compiler.convert.ncnn.integers import Product, write_int8
from edgeopt.compiler.convert.ncnn.prepare import prepare
from edgeopt.compiler.convert.runner import open_converted
from edgeopt.compiler.quantize.graph import Graph, attribute
from edgeopt.compiler.quantize.strip import Stripped, strip
from edgeopt.compiler.reading import serialise
from edgeopt.compiler.refuse import Refused, shorten
from edgeopt.compiler.running import Feed, Feeds, run_one
from edgeopt.compiler.runtime import open_session, specs
from edgeopt.compiler.same import difference, plausible_feeds
from edgeopt.domain.model import TensorSpec

BORDER = "model.json"
FLOATS = ("float32", "float16")
LEAST = 1e-3
"""Answers that are all smaller are held to an absolute 1e-6: two runtimes' Sigmoid differ by that much at its ends."""

LEVELS = 255
"""The largest code of an activation in a QDQ file, counted from 0."""

MOST_AXES = 4
"""Of an array in ncnn."""


def to_ncnn(model: Any, _options: Mapping[str, Any], bench: Any) -> Converted:
    """Convert a graph, and see that what came out answers as the graph does. Names, order, shapes and dtypes of inputs and outputs stay.

    Args:
        model: an onnx.ModelProto, opset 13 or later; float, or QDQ: then what is quantised in it becomes ncnn's int8.
        bench: its first sample says how large open axes are, and is what answers are compared on; files on the way go to its folder, a remark to its notes.

    Raises:
        Refused: ncnn or its converter cannot, with the operator that is in the way; or the file answers differently.
    """
    bordered, codes = float_border(model)
    stripped = _stripped(bordered)
    source = bordered if stripped is None else stripped.model
    feed, expected, inputs, outputs = _border(source, bench.samples, codes)
    folder = bench.scratch / "to-ncnn"
    folder.mkdir()
    prepared = prepare(source, {name: array.shape for name, array in feed.items()})
    (folder / "model.onnx").write_bytes(serialise(prepared))
    dropped = program.convert(
        folder / "model.onnx",
        [("float32" if _fed_as(spec) == "float32" else spec.dtype, feed[spec.name].shape) for spec in inputs],
    )
    (folder / BORDER).write_text(_described(inputs, outputs, feed, expected, dropped))
    _compare(folder, feed, expected)
    if stripped is not None:
        bench.notes.append(_to_int8(folder, stripped))
        _compare(folder, feed, expected, exact=False)
    names = (program.PARAM, program.WEIGHTS, BORDER)
    return Converted(files={name: (folder / name).read_bytes() for name in names})


def _stripped(model: Any) -> Stripped | None:
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return None
    stripped = strip(model)
    _upper_ends(stripped)
    return stripped


def _upper_ends(stripped: Stripped) -> None:
    """A quantiser that begins at 0 also cuts at its upper end, which may be all that is left of a Clip: behind it Relu becomes Clip, for readers that are float in ncnn."""
    import onnx

    graph = Graph(stripped.model)
    for node in graph.graph.node:
        scales = stripped.scales.get(node.output[0]) if node.op_type == "Relu" else None
        if not scales or scales[0].scale.size > 1 or int(scales[0].zero[0]) != 0:
            continue
        low = graph.add_constant(node.output[0], np.zeros((), np.float32))
        high = graph.add_constant(node.output[0], np.asarray(LEVELS * scales[0].scale[0], np.float32))
        clip = onnx.helper.make_node("Clip", [node.input[0], low, high], list(node.output), name=node.name)
        node.CopyFrom(clip)
    graph.index()


def _border(
    model: Any, samples: Feeds | None, codes: Mapping[str, str]
) -> tuple[Feed, list[Any], tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """A feed, the answers to it, and what the signature says; `codes` has the dtypes of what `float_border` made float32.

    Raises:
        Refused: something about the border that ncnn has no way for.
    """
    session = open_session(serialise(model))
    inputs, outputs = (_with_codes(specs(found), codes) for found in (session.get_inputs(), session.get_outputs()))
    for kind, tensor in [*(("input", spec) for spec in inputs), *(("output", spec) for spec in outputs)]:
        allowed = FLOATS if kind == "output" else (*FLOATS, "int64", "int32")
        if tensor.dtype not in allowed and tensor.name not in codes:
            raise Refused("step-failed", f"ncnn has no {tensor.dtype}, which the {kind} {tensor.name} is")
    feeds = list(samples.first(1)) if samples is not None else plausible_feeds(session)
    if not feeds:
        raise Refused(
            "step-failed", "ncnn's files are for one size of input, and without samples it is not known which"
        )
    feed = feeds[0]
    floats = {name: array.astype(np.float32) if name in codes else array for name, array in feed.items()}
    answers = run_one(lambda values: session.run(None, values), floats)
    expected = [
        np.rint(array).astype(spec.dtype) if spec.name in codes else array
        for spec, array in zip(outputs, answers, strict=True)
    ]
    return feed, expected, inputs, outputs


def _with_codes(found: Sequence[TensorSpec], codes: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(msgspec.structs.replace(spec, dtype=codes.get(spec.name, spec.dtype)) for spec in found)


def _fed_as(spec: TensorSpec) -> str:
    """What ncnn is given for an input: floats and codes as float32."""
    return "float32" if spec.dtype in (*FLOATS, *CODES.values()) else "int32"


def _described(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    feed: Feed,
    expected: Sequence[Any],
    dropped: Mapping[int, int | None],
) -> str:
    """The JSON that the agent's runtime reads: names, dtypes and shapes as the model has them, blobs and shapes as ncnn has them."""
    ins = []
    for number, spec in enumerate(inputs):
        shape = list(feed[spec.name].shape)
        fed = [size for axis, size in enumerate(shape) if axis != dropped.get(number)]
        if np.prod(fed, dtype=np.int64) != np.prod(shape, dtype=np.int64):
            raise Refused("step-failed", f"ncnn takes one sample at a time, and the input {spec.name} is {shape}")
        if not 0 < len(fed) <= MOST_AXES:
            raise Refused(
                "step-failed", f"ncnn's arrays have 1 to {MOST_AXES} axes, and the input {spec.name} is {shape}"
            )
        ins.append(
            {
                "name": spec.name,
                "dtype": spec.dtype,
                "shape": shape,
                "blob": f"in{number}",
                "fed": fed,
                "fed_as": _fed_as(spec),
            }
        )
    outs = [
        {"name": spec.name, "dtype": spec.dtype, "shape": list(array.shape), "blob": f"out{number}"}
        for number, (spec, array) in enumerate(zip(outputs, expected, strict=True))
    ]
    return json.dumps({"inputs": ins, "outputs": outs}, indent=1)


def _compare(folder: Path, feed: Feed, expected: Sequence[Any], *, exact: bool = True) -> None:
    """See that the files load and answer; with `exact` that they answer as the graph does, up to rounding.

    Raises:
        Refused: they do not.
    """
    _known(parse_param((folder / program.PARAM).read_text(errors="replace")))
    opened = _open(folder / program.PARAM)
    got = run_one(opened.run, feed)
    if exact:
        try:
            _check_answers(expected, got)
        except Refused as refused:
            raise Refused(
                refused.code, f"ncnn's converter made a network of it that answers otherwise: {refused}"
            ) from refused
    elif not all(np.isfinite(array).all() for array in got):
        raise Refused("differs", "in ncnn's int8 it answers NaN or infinity")


def _check_answers(expected: Sequence[Any], got: Sequence[Any]) -> None:
    """Floats up to rounding; codes up to one: at a tie either is right."""
    off = [np.abs(a.astype(int) - b.astype(int)).max() > 1 for a, b in zip(expected, got, strict=True) if _is_code(a)]
    if any(off):
        raise Refused("differs", "its codes are more than one apart")
    floats = [(a, b) for a, b in zip(expected, got, strict=True) if not _is_code(a)]
    difference([a for a, _ in floats], [b for _, b in floats], least=LEAST)


def _is_code(array: Any) -> bool:
    return array.dtype.name in CODES.values()


def _open(param: Path) -> Any:
    """Open the files; where ncnn refuses them, with the last that it says on stderr, which names the layer.

    Raises:
        Refused: it refuses them, or is not installed.
    """
    said = param.parent / "ncnn.log"
    stderr = os.dup(2)
    with said.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        return open_converted(param)
    except Refused as refused:
        words = shorten(said.read_text(errors="replace").strip().rpartition("\n")[2])
        raise Refused(refused.code, f"{refused}: {words}" if words else str(refused)) from refused
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _known(layers: Sequence[Layer]) -> None:
    """Refuse layers that the converter left as PyTorch's or ONNX's, which ncnn does not have."""
    try:
        import ncnn
    except ImportError:
        return  # whoever opens the files says so

    foreign = sorted({layer.kind for layer in layers if ncnn.layer_to_index(layer.kind) < 0})
    if foreign:
        first = next(layer for layer in layers if layer.kind in foreign)
        raise Refused("step-failed", f"ncnn has no layer for {', '.join(foreign[:4])} (the first such is {first.name})")


def _to_int8(folder: Path, stripped: Stripped) -> str:
    """Write the calibrated codes and scales into the files; says what is int8 then.

    Raises:
        Refused: none of the layers is ncnn's, or it keeps its weights in an unknown way.
    """
    param, weights = folder / program.PARAM, folder / program.WEIGHTS
    try:
        layers = parse_param(param.read_text())
        parts = split_weights(layers, weights.read_bytes())
    except FormatError as error:
        raise Refused("step-failed", f"int8 cannot be written into ncnn's files: {error}") from error
    products = sum(part.values is not None for part in parts)
    found, parts = write_int8(layers, parts, _products(stripped))
    if not found:
        raise Refused("nothing-to-do", "none of its int8 layers is a convolution or an inner product in ncnn")
    param.write_text(format_param(layers))
    weights.write_bytes(join_weights(parts))
    return f"{found} of {products} products run in int8 in ncnn; what stands between them is float"


def _products(stripped: Stripped) -> list[Product]:
    """Products with quantised weights and a quantised input."""
    graph = Graph(stripped.model)
    found = []
    for node in graph.graph.node:
        steps, scales = stripped.steps.get(node.name), stripped.scales.get(node.input[0]) if node.input else None
        weight = graph.constant(node.input[1]) if steps is not None and scales else None
        if weight is None or steps is None or not scales or scales[0].scale.size > 1:
            continue
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
            weight = weight.T
        scale = scales[0]
        step, zero = float(scale.scale[0]), int(scale.zero[0])
        found.append(Product(weight=weight, steps=np.asarray(steps), low=-zero * step, high=(LEVELS - zero) * step))
    return found
