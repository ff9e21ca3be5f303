"""float16 with an eye on its end: what passes 65504 on the samples stays in float32. Child side.

float16 ends at 65504, and what lies beyond becomes infinite and soon not a number: residual streams of transformers get there, and so do squares inside of normalisations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Graph, captured
from edgeopt.compiler.quantize.observe import float_session, run_taps, tapped
from edgeopt.compiler.running import Feeds

LARGEST = 65504.0
HEADROOM = 2.0
"""Other inputs make larger values than the samples do."""

SEEN = 16
AT_A_TIME = 64
"""Tensors that are looked at in one pass, so that memory does not grow with the network."""

INFINITE = 1e9
"""A constant of this size is a mask: it stands for infinity."""

MASK = 16384.0
"""What stands for it in float16; there is room for what is added to it."""

SQUARING = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"}
    | {"InstanceNormalization", "GroupNormalization", "LpNormalization", "ReduceL2", "ReduceSumSquare"}
)
"""Operators that square what they read."""


def halved(model: Any, feeds: Feeds | None) -> tuple[Any, list[str]]:
    """The model in float16, its signature unchanged, and remarks. `model` is changed.

    Args:
        model: float32.
        feeds: samples by which overflow is told; without any, only the constants are looked at.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph, remarks = Graph(model), []
    _name_nodes(graph)
    masks = _soften_masks(graph)
    if masks:
        remarks.append(f"{masks} constants that stand for infinity became {MASK:g} in size, which float16 holds")
    types = _complete_types(graph)
    peaks = _constant_peaks(graph)
    if feeds is None:
        remarks.append("overflow of float16 was not looked for: there are no samples")
    else:
        tensors = [name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT and name in graph.producer]
        peaks |= tensor_peaks(model, sorted(tensors), feeds.first(SEEN))
    kept = [node.name for node in graph.graph.node if passes_float16(node, peaks)]
    if kept:
        remarks.append(_words(kept, len(graph.graph.node)))
    before = {node.name for node in graph.graph.node}
    made = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    _join_casts(made, before)
    return made, remarks


def passes_float16(node: Any, peaks: dict[str, float]) -> bool:
    """Whether an operator makes, reads or squares what is too large. peaks: largest size by tensor, of those that are known."""
    if captured(node):
        return False  # the bodies of control flow would have to stay in float32 with all that they read
    read = max((peaks.get(name, 0.0) for name in node.input), default=0.0)
    made = max((peaks.get(name, 0.0) for name in node.output), default=0.0)
    squared = read**2 if node.op_type in SQUARING else 0.0
    return max(read, made, squared) > LARGEST / HEADROOM


def tensor_peaks(model: Any, names: list[str], feeds: Iterable[Any]) -> dict[str, float]:
    """The largest finite size over the samples, of each tensor and of each of the model's float inputs."""
    peaks = dict.fromkeys(names, 0.0)

    def visit(_number: int, tensors: dict[str, Any]) -> None:
        for name, value in tensors.items():
            finite = np.abs(value[np.isfinite(value)])
            peaks[name] = max(peaks.get(name, 0.0), float(finite.max(initial=0)))

    for number, feed in enumerate(feeds):
        visit(number, {name: value for name, value in feed.items() if value.dtype.kind == "f"})
    for start in range(0, len(names), AT_A_TIME):
        run_taps(model, names[start : start + AT_A_TIME], feeds, visit)
    return peaks


def _words(kept: list[str], count: int) -> str:
    named = ", ".join(kept[:3]) + (" and others" if len(kept) > 3 else "")
    return f"{len(kept)} of {count} operators stay in float32, because values or squares there come near what float16 holds ({LARGEST:g}): {named}"


def _name_nodes(graph: Graph) -> None:
    """A name of its own for every node: by it the converter leaves one alone."""
    seen: set[str] = set()
    for number, node in enumerate(graph.graph.node):
        while not node.name or node.name in seen:
            node.name = f"{node.name or node.op_type}_{number}"
        seen.add(node.name)


def _soften_masks(graph: Graph) -> int:
    import onnx

    count = 0
    for name, tensor in graph.tensors.items():
        value = graph.constant(name) if graph.is_float(name) else None
        if value is None or not value.size:
            continue
        infinite = np.isfinite(value) & (np.abs(value) >= INFINITE)
        if infinite.any():
            soft = np.where(infinite, np.copysign(np.float32(MASK), value), value).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(soft, name))
            count += 1
    return count


def _constant_peaks(graph: Graph) -> dict[str, float]:
    peaks = {}
    for name in graph.tensors:
        value = graph.constant(name) if graph.is_float(name) else None
        if value is not None and value.size:
            peaks[name] = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
    return peaks


def _complete_types(graph: Graph) -> dict[str, int]:
    """Element types of all tensors; those that shape inference does not know (behind operators of other domains) come from the runtime.

    They are written into the graph: where the converter knows no type it puts no cast, and its result does not load.
    """
    import onnx

    types = {name: kind.elem_type for name, kind in graph.types.items() if kind.elem_type}
    unknown = [name for name in graph.producer if name not in types]
    if unknown:
        described = float_session(tapped(graph.model, unknown)).get_outputs()
        for value in described:
            element = {"tensor(float)": onnx.TensorProto.FLOAT, "tensor(double)": onnx.TensorProto.DOUBLE}.get(
                value.type
            )
            if element is not None:
                types[value.name] = element
                graph.graph.value_info.append(onnx.helper.make_tensor_value_info(value.name, element, None))
    return types


def _join_casts(model: Any, before: set[str]) -> None:
    """Between two operators in float32 the converter goes through float16 and back, where large values would be lost: go straight."""
    import onnx

    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast" and node.name not in before}
    narrow = {name: node.input[0] for name, node in casts.items() if _target(node) == onnx.TensorProto.FLOAT16}
    for node in casts.values():
        if _target(node) == onnx.TensorProto.FLOAT and node.input[0] in narrow:
            node.input[0] = narrow[node.input[0]]
    used = {name for node in model.graph.node for name in (*node.input, *captured(node))}
    used |= {value.name for value in model.graph.output}
    for node in [node for name, node in casts.items() if name in narrow and name not in used]:
        model.graph.node.remove(node)


def _target(cast: Any) -> int:
    return int(next(attribute.i for attribute in cast.attribute if attribute.name == "to"))
