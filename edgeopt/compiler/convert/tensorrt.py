"""What TensorRT gets: the ONNX graph with one fixed size, and a description of its border. The engine is built on the board, since it fits one GPU and one version. Child side."""

from __future__ import annotations

import json
from typing import Any

from edgeopt.compiler.convert.converted import Converted
from edgeopt.compiler.reading import serialise
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import run_one
from edgeopt.compiler.runtime import open_session, specs
from edgeopt.compiler.same import plausible_feeds

GRAPH, BORDER = "model.onnx", "model.json"
TAKEN = ("float32", "float16", "int32")
"""dtypes that mean the same to every version of TensorRT: int64 at the border was int32 before TensorRT 10."""


def to_tensorrt(model: Any, bench: Any) -> Converted:
    """Fix open axes to the sizes of the first sample, and say how the model looks from outside.

    Args:
        model: an onnx.ModelProto, float or QDQ with symmetric int8.
        bench: its first sample says how large open axes are.

    Raises:
        Refused: an input or output of a dtype that TensorRT's versions understand differently, or nobody says how large inputs are.
    """
    session = open_session(serialise(model))
    inputs, outputs = specs(session.get_inputs()), specs(session.get_outputs())
    for spec in (*inputs, *outputs):
        if spec.dtype not in TAKEN:
            raise Refused("step-failed", f"{spec.name} is {spec.dtype}: TensorRT takes and gives {', '.join(TAKEN)}")
    feeds = list(bench.samples.first(1)) if bench.samples is not None else plausible_feeds(session)
    if not feeds:
        raise Refused("step-failed", "an engine is for one size of input, and without samples it is not known which")
    answers = run_one(lambda values: session.run(None, values), feeds[0])
    sizes = {spec.name: list(feeds[0][spec.name].shape) for spec in inputs}
    sizes |= {spec.name: list(answer.shape) for spec, answer in zip(outputs, answers, strict=True)}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in sizes:
            _fix(value, sizes[value.name])
    # Sizes inside follow from those of the inputs.
    del model.graph.value_info[:]
    described = {
        "inputs": [{"name": s.name, "dtype": s.dtype, "shape": sizes[s.name]} for s in inputs],
        "outputs": [{"name": s.name, "dtype": s.dtype, "shape": sizes[s.name]} for s in outputs],
        "int8": any(node.op_type == "QuantizeLinear" for node in model.graph.node),
    }
    return Converted(files={GRAPH: serialise(model), BORDER: json.dumps(described, indent=1).encode() + b"\n"})


def _fix(value: Any, sizes: list[int]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        shape.dim.add().dim_value = size
