"""The child's task `inspect`: everything that is to be known of a model file, or the sentence that says why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.convert.from_tflite.reading import is_tflite
from edgeopt.compiler.costs import count_costs
from edgeopt.compiler.digests import describe_files, digest_files
from edgeopt.compiler.graph_walk import graph_tensors, walk_graphs
from edgeopt.compiler.guess import guess_task
from edgeopt.compiler.inspecting_tflite import inspect_tflite
from edgeopt.compiler.reading import opset_of, read_checked
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import check_signature, load_or_refuse, specs
from edgeopt.domain.model import ModelInfo, TensorSpec

MAX_BYTES = 2 << 30
STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def inspect_task(request: dict[str, Any], _scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"path"}` -> `{"model": ModelInfo}`."""
    path = Path(request["path"])
    if is_tflite(path):
        return {"model": msgspec.to_builtins(inspect_tflite(path))}
    model, external = read_checked(path)
    files = describe_files(path.parent, [path.name, *external])
    total = sum(file.bytes for file in files)
    if total > MAX_BYTES:
        raise Refused("model-too-large", f"it has {total / 2**30:.1f} GiB with its weights, and 2 GiB is the most")
    session = load_or_refuse(path)
    inputs = _known_rank(specs(session.get_inputs()), model.graph.input)
    outputs = _known_rank(specs(session.get_outputs()), model.graph.output)
    check_signature(inputs, outputs)
    task, reason = guess_task(inputs, outputs, model.graph)
    counts = Counter(node.op_type for graph, _ in walk_graphs(model) for node in graph.node)
    parameters = _parameters(model)
    costs = count_costs(model)
    info = ModelInfo(
        name=path.stem,
        format="onnx",
        digest=digest_files(files),
        bytes=total,
        files=files,
        inputs=inputs,
        outputs=outputs,
        opset=opset_of(model),
        ir_version=model.ir_version,
        node_count=sum(counts.values()),
        parameter_count=sum(parameters.values()),
        parameter_dtypes=parameters,
        op_counts=dict(counts.most_common()),
        domains=_domains(model),
        has_control_flow=any(depth > 0 for _, depth in walk_graphs(model)) or bool(CONTROL_FLOW & counts.keys()),
        task=task,
        task_reason=reason,
        matrix_share=_matrix_share(model, parameters),
        macs=costs.macs,
        activations=costs.activations,
        costs_reason=costs.reason,
        warnings=tuple(_warnings(model)),
    )
    return {"model": msgspec.to_builtins(info)}


def _known_rank(described: tuple[TensorSpec, ...], values: Any) -> tuple[TensorSpec, ...]:
    """The runtime says [] for a scalar and for an unknown rank alike: where the file says no shape, it is the latter."""
    silent = {v.name for v in values if v.type.HasField("tensor_type") and not v.type.tensor_type.HasField("shape")}
    return tuple(
        msgspec.structs.replace(spec, shape=None) if spec.name in silent and spec.shape == () else spec
        for spec in described
    )


def _parameters(model: Any) -> dict[str, int]:
    """Number of weights by dtype: initialisers and Constant nodes, those of bodies too."""
    import onnx

    totals: Counter[str] = Counter()
    for graph, _ in walk_graphs(model):
        for tensor in graph_tensors(graph):
            totals[onnx.TensorProto.DataType.Name(tensor.data_type).lower()] += prod(tensor.dims)
    names = {"float": "float32", "double": "float64"}
    return {names.get(name, name): count for name, count in totals.most_common() if count}


def _matrix_share(model: Any, parameters: dict[str, int]) -> float | None:
    """Of the float weights that are not looked up by row, the part that are second factors of MatMul and Gemm; None when there are none."""
    sizes = {name: prod(tensor.dims) for name, tensor in _main_constants(model) if len(tensor.dims) == 2}
    factors = {node.input[1] for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1}
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"} - factors
    matrices, looked_up = (sum(sizes.get(name, 0) for name in names) for names in (factors, tables))
    total = parameters.get("float32", 0) + parameters.get("float16", 0) - looked_up
    return matrices / total if total > 0 else None


def _main_constants(model: Any) -> Iterator[tuple[str, Any]]:
    """Float weights of the main graph by name: initialisers and Constant nodes."""
    import onnx

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    for tensor in model.graph.initializer:
        if tensor.data_type in kinds:
            yield tensor.name, tensor
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.HasField("t") and attribute.t.data_type in kinds:
                yield node.output[0], attribute.t


def _domains(model: Any) -> tuple[str, ...]:
    return tuple(sorted({node.domain or "ai.onnx" for graph, _ in walk_graphs(model) for node in graph.node}))


def _own_domains(model: Any) -> set[str]:
    """Domains of the functions that the file itself brings."""
    return {function.domain for function in model.functions}


def _warnings(model: Any) -> list[str]:
    """Oddities that do not stop anything, as sentences."""
    warnings = []
    inputs = {value.name for value in model.graph.input}
    both = sum(1 for tensor in model.graph.initializer if tensor.name in inputs)
    if both:
        warnings.append(
            f"{both} of its weights are also graph inputs (IR {model.ir_version}), so the runtime may not fold them; the recipe `clean` mends that"
        )
    custom = sorted(
        {node.domain for graph, _ in walk_graphs(model) for node in graph.node} - STANDARD - _own_domains(model)
    )
    if custom:
        warnings.append(f"it uses operators of {', '.join(custom)[:200]}, which a board's runtime may lack")
    if model.training_info:
        warnings.append("it carries training information, which is not used")
    return warnings
