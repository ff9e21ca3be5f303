"""The step `student`: the graph of a smaller network that the user named, with the model's names where both speak of the same thing. Child side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeopt.compiler.digests import describe_files, digest_files
from edgeopt.compiler.quantize.graph import Graph, captured
from edgeopt.compiler.reading import read_checked
from edgeopt.compiler.refuse import Refused

PREFIX = "student/"
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


def read_student(model: Any, path: Path, digest: str) -> Any:
    """The student's graph. Its tensors have names of their own, but inputs, outputs, and the features that its first answer is made of, where the model's have the same shape: what has one name is compared.

    Args:
        model: the original.
        path: the student's file, its external data beside it.
        digest: of its content when it was looked at.

    Raises:
        Refused: model-changed; see `read_checked`.
    """
    import onnx

    made, external = read_checked(path)
    if digest_files(describe_files(path.parent, [path.name, *external])) != digest:
        raise Refused("model-changed", f"{path.name} has changed since it was inspected")
    onnx.load_external_data_for_model(made, str(path.parent))
    if any(captured(node) for node in made.graph.node):
        raise Refused("twin-unsupported", "the student has control flow, which is not trained")
    names = {value.name: theirs.name for value, theirs in zip(made.graph.output, model.graph.output, strict=True)}
    names |= _features(made, model)
    return _renamed(made, names)


def _features(student: Any, model: Any) -> dict[str, str]:
    """What the last product of the first answer reads, in both; nothing where their shapes differ or are not known."""
    own, theirs = (Graph(_copied(each)) for each in (student, model))
    one, two = (_last_read(graph) for graph in (own, theirs))
    if one is None or two is None or one in own.inputs or two in theirs.inputs:
        return {}
    shapes = own.shape(one), theirs.shape(two)
    same = shapes[0] is not None and shapes[0] == shapes[1] and shapes[0][1:] and None not in shapes[0][-1:]
    return {one: two} if same else {}


def _copied(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _last_read(graph: Graph) -> str | None:
    name = graph.outputs[0]
    while name in graph.producer:
        node = graph.producer[name]
        if node.op_type in PRODUCTS:
            return str(node.input[0])
        name = next((each for each in node.input if each in graph.producer), "")
    return None


def _renamed(model: Any, names: dict[str, str]) -> Any:
    """Every tensor under a name of its own, but those of `names` and the inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    names = {value.name: value.name for value in model.graph.input if value.name not in constants} | names
    names[""] = ""

    def new(name: str) -> str:
        return names.get(name, PREFIX + name)

    for node in model.graph.node:
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for each in (*model.graph.initializer, *model.graph.output, *model.graph.input):
        each.name = new(each.name)
    del model.graph.value_info[:]
    return model
