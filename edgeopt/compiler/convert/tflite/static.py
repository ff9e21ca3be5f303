"""A graph with every size as a number and everything folded that does not depend on the inputs. TFLite files are for one size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import open_session

ROUNDS = 8
"""Folding makes shapes known, and these let more be folded; real graphs are done in three rounds."""

KEPT = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    }
)
"""Never folded: what is quantised stays so, what is random stays random."""

FOLDED = frozenset(
    {
        "Constant",
        "ConstantOfShape",
        "Range",
        "Shape",
        "Size",
        "Mod",
        "NonZero",
        "OneHot",
        "ScatterND",
        "ScatterElements",
        "EyeLike",
        "CumSum",
        "Trilu",
        "GatherND",
        "GatherElements",
        "Tile",
        "Erf",
    }
)
"""Operators that there may be where they compute on constants."""

MAX_FOLDED_BYTES = 256 << 20


def static_model(model: Any, samples: Iterable[dict[str, Any]] | None) -> Any:
    """A copy of a model without open axes: sizes are those of the samples, an open first axis without samples is 1.

    Raises:
        Refused: step-failed: samples of several sizes, or an axis that depends on more than the inputs' sizes.
    """
    made = type(model)()
    made.CopyFrom(model)
    _fix_inputs(made, samples)
    del made.graph.value_info[:]
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    for _ in range(ROUNDS):
        made = _inferred(made)
        if not _fold(made):
            break
    _check_static(made)
    return made


def _fix_inputs(model: Any, samples: Iterable[dict[str, Any]] | None) -> None:
    seen = _sizes(samples)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        shape = value.type.tensor_type.shape
        wanted = seen.get(value.name)
        for position, axis in enumerate(shape.dim):
            if axis.HasField("dim_value") and axis.dim_value > 0:
                continue
            if wanted is not None and position < len(wanted):
                axis.dim_value = wanted[position]
            elif position == 0:
                axis.dim_value = 1
            else:
                raise Refused(
                    "step-failed",
                    f"a TFLite file is for one size, and axis {position} of the input {value.name[:80]!r} is open; give samples of that size",
                )


def _sizes(samples: Iterable[dict[str, Any]] | None) -> dict[str, tuple[int, ...]]:
    seen: dict[str, tuple[int, ...]] = {}
    for sample in samples or ():
        for name, array in sample.items():
            if seen.setdefault(name, array.shape) != array.shape:
                raise Refused(
                    "step-failed",
                    f"a TFLite file is for one size, and the samples have several ({list(seen[name])} and {list(array.shape)} for {name[:80]!r})",
                )
    return seen


def _inferred(model: Any) -> Any:
    """With shapes inferred anew: what was inferred before something was folded stands over the constant's own shape."""
    import onnx

    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _known(model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes that are numbers throughout."""
    found = {}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(axis.HasField("dim_value") for axis in kind.shape.dim):
            found[value.name] = tuple(axis.dim_value for axis in kind.shape.dim)
    return found


def _fold(model: Any) -> bool:
    """Replace what is constant by its value; whether anything was."""
    import onnx

    shapes = _known(model)
    constant = {tensor.name for tensor in model.graph.initializer}
    folded, kept = [], []
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes:
            _shape_constant(model, node, shapes[node.input[0]], onnx)
            constant.add(node.output[0])
        elif _is_constant(node, constant, shapes):
            folded.append(node)
            constant.update(node.output)
        else:
            kept.append(node)
    if len(kept) == len(model.graph.node):
        return False
    values = _run(model, folded, onnx) if folded else []
    copies = [_copy(node) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.graph.initializer.extend(values)
    return True


def _shape_constant(model: Any, node: Any, shape: tuple[int, ...], onnx: Any) -> None:
    options = {each.name: each.i for each in node.attribute}
    part = shape[options.get("start", 0) : options.get("end", len(shape))]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(part, np.int64), node.output[0]))


def _is_constant(node: Any, constant: set[str], shapes: dict[str, tuple[int, ...]]) -> bool:
    return (
        node.op_type not in KEPT
        and node.domain in ("", "ai.onnx")
        and all(name in constant for name in node.input if name)
        and not any(each.HasField("g") or each.graphs for each in node.attribute)
        and sum(8 * int(np.prod(shapes.get(name, ()))) for name in node.output) <= MAX_FOLDED_BYTES
    )


def _run(model: Any, nodes: list[Any], onnx: Any) -> list[Any]:
    names = list(dict.fromkeys(name for node in nodes for name in node.output if name))
    needed = {name for node in nodes for name in node.input}
    graph = onnx.helper.make_graph(
        [_copy(node) for node in nodes],
        "constant",
        [],
        [onnx.ValueInfoProto(name=name) for name in names],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))
    values = open_session(onnx.shape_inference.infer_shapes(part).SerializeToString()).run(names, {})
    return [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, values, strict=True)]


def _copy(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _check_static(model: Any) -> None:
    shapes = _known(model) | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        open_ones = [name for name in node.output if name and name not in shapes]
        if open_ones:
            words = f"{node.op_type} ({(node.name or open_ones[0])[:80]})"
            raise Refused(
                "step-failed",
                f"a TFLite file is for one size, and what the operator {words} answers has none that is known beforehand",
            )
