"""What there is to know of a TensorFlow Lite file. Child side, for the task `inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeopt.compiler.convert.from_tflite.convert import to_onnx
from edgeopt.compiler.convert.from_tflite.importing import IR_VERSION, OPSET
from edgeopt.compiler.convert.from_tflite.reading import open_interpreter, read_tflite
from edgeopt.compiler.costs import count_costs
from edgeopt.compiler.digests import describe_files, digest_files
from edgeopt.compiler.guess import guess_task
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import check_signature, open_session
from edgeopt.domain.model import ModelInfo, TensorSpec

SAME = 1e-3
"""Over the largest answer: another order of additions, no more."""

BORDER = ("QuantizeLinear", "DequantizeLinear", "Identity")
"""What stands at the border of the float graph, and is none of it."""


def inspect_tflite(path: Path) -> ModelInfo:
    """Load it in LiteRT, read it, and see whether there is an ONNX graph of it.

    Raises:
        Refused: as `open_interpreter`; model-unsupported: it cannot be fed from arrays; model-unreadable, model-too-large.
    """
    interpreter = open_interpreter(path)
    inputs, outputs = _specs(interpreter.get_input_details()), _specs(interpreter.get_output_details())
    check_signature(inputs, outputs)
    graph, parameters, why = _float_graph(path, interpreter)
    counts = _counts(graph, interpreter)
    shown = [msgspec.structs.replace(spec, dtype="float32") if spec.scale is not None else spec for spec in outputs]
    files = describe_files(path.parent, [path.name])
    task, reason = guess_task(inputs, shown, graph.graph if graph is not None else _NOTHING)
    costs = count_costs(graph) if graph is not None else None
    return ModelInfo(
        name=path.stem,
        format="tflite",
        digest=digest_files(files),
        bytes=files[0].bytes,
        files=files,
        inputs=inputs,
        outputs=outputs,
        opset=OPSET,
        ir_version=IR_VERSION,
        node_count=sum(counts.values()),
        parameter_count=sum(parameters.values()),
        parameter_dtypes=parameters,
        op_counts=dict(counts.most_common()),
        domains=("ai.onnx",) if graph is not None else ("tflite",),
        has_control_flow=False,
        task=task,
        task_reason=reason,
        matrix_share=_matrix_share(graph) if graph is not None else None,
        macs=costs.macs if costs else None,
        activations=costs.activations if costs else None,
        costs_reason=costs.reason if costs else why,
        not_rebuilt=why,
        warnings=(f"it can only be run as it is: {why}",) if why else (),
    )


class _Nothing:
    """A graph of which nothing is known."""

    node: tuple[Any, ...] = ()


_NOTHING = _Nothing()


def _specs(details: Iterable[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    """Of inputs or outputs as LiteRT describes them."""
    found = []
    for each in details:
        scales, zeros = (each["quantization_parameters"][key] for key in ("scales", "zero_points"))
        dtype = np.dtype(each["dtype"])
        found.append(
            TensorSpec(
                name=str(each["name"]),
                dtype="str" if dtype.kind in "SUO" else dtype.name,
                shape=tuple(int(axis) for axis in each["shape"]),
                scale=float(scales[0]) if len(scales) else None,
                zero_point=int(zeros[0]) if len(scales) else None,
            )
        )
    return tuple(found)


def _float_graph(path: Path, interpreter: Any) -> tuple[Any | None, dict[str, int], str | None]:
    """(the ONNX graph, number of weights by dtype, why there is no graph)."""
    try:
        lite = read_tflite(path, interpreter)
    except Refused as refused:
        if refused.code != "model-unsupported":
            raise
        return None, {}, str(refused)
    try:
        graph = to_onnx(lite)
        worst = _apart(interpreter, open_session(graph.SerializeToString()))
    except Refused as refused:
        return None, lite.parameters, str(refused)
    except Exception as error:  # noqa: BLE001 - onnx and its runtime say it with their own errors; the file itself runs
        return None, lite.parameters, f"as ONNX it does not load: {type(error).__name__}"
    if not lite.is_quantised and worst > SAME:
        return None, lite.parameters, f"as ONNX it answers differently, by {worst:.1e} of the largest value"
    return graph, lite.parameters, None


def _apart(interpreter: Any, session: Any) -> float:
    """How far the ONNX graph's answers to one random input are from the file's, over the largest of each output. What was quantised rounds otherwise, so it is for float files."""
    generator, feed = np.random.default_rng(0), {}
    for each in interpreter.get_input_details():
        real = np.dtype(each["dtype"]).kind == "f"
        values = generator.random(each["shape"]) if real else generator.integers(0, 2, each["shape"])
        feed[str(each["name"])] = values.astype(each["dtype"])
        interpreter.set_tensor(each["index"], feed[str(each["name"])])
    interpreter.invoke()
    worst = 0.0
    for each, got in zip(interpreter.get_output_details(), session.run(None, feed), strict=True):
        want = interpreter.get_tensor(each["index"]).astype(np.float64)
        size = max(float(np.abs(want).max(initial=0.0)), 1e-6)
        worst = max(worst, float(np.abs(got.astype(np.float64) - want).max(initial=0.0)) / size)
    return worst


def _counts(graph: Any | None, interpreter: Any) -> Counter[str]:
    if graph is None:
        return Counter(str(each["op_name"]) for each in interpreter._get_ops_details())  # noqa: SLF001 - there is no other way to ask
    return Counter(node.op_type for node in graph.graph.node if node.op_type not in BORDER)


def _matrix_share(graph: Any) -> float | None:
    """Of the weights, the part that are matrices of Gemm and MatMul."""
    sizes = {tensor.name: (len(tensor.dims), prod(tensor.dims)) for tensor in graph.graph.initializer}
    factors = {node.input[1] for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")}
    matrices = sum(size for name, (rank, size) in sizes.items() if name in factors and rank == 2)
    total = sum(size for _, size in sizes.values())
    return matrices / total if total else None
