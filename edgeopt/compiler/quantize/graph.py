"""A float graph with the look-ups that quantisation needs. Child side."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Graph:
    """The main graph of a model. `nodes` may be edited; call `index` afterwards. Bodies of control flow are left alone."""

    def __init__(self, model: Any, *, infer: bool = True) -> None:
        """Take `model` (it is changed in place) and make every Constant node an initialiser. Without `infer` nothing is known of shapes and types, and looking up again is quick."""
        self.model = model
        self._infer = infer
        self.graph = model.graph
        self._counter = itertools.count()
        self._lift_constants()
        self.index()

    def index(self) -> None:
        """Look everything up again after an edit."""
        import onnx

        graph = self.graph
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.tensors]
        self.outputs = [value.name for value in graph.output]
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.consumers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in dict.fromkeys((*node.input, *captured(node))):
                self.consumers.setdefault(name, []).append(node)
        inferred = onnx.shape_inference.infer_shapes(self.model).graph if self._infer else graph
        self.types = {v.name: v.type.tensor_type for v in (*inferred.value_info, *inferred.input, *inferred.output)}

    def _lift_constants(self) -> None:
        import onnx

        kept = []
        for node in self.graph.node:
            value = next((a for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                tensor = onnx.TensorProto()
                tensor.CopyFrom(value.t)
                tensor.name = node.output[0]
                self.graph.initializer.append(tensor)
            else:
                kept.append(node)
        if len(kept) < len(self.graph.node):
            del self.graph.node[:]
            self.graph.node.extend(kept)

    def fresh(self, stem: str) -> str:
        """A name that nothing has."""
        while True:
            name = f"{stem}_eo{next(self._counter)}"
            if name not in self.producer and name not in self.tensors:
                return name

    def constant(self, name: str) -> Array | None:
        """The value of an initialiser, None for anything else."""
        import onnx

        tensor = self.tensors.get(name)
        return None if tensor is None else np.asarray(onnx.numpy_helper.to_array(tensor))

    def add_constant(self, stem: str, value: Array) -> str:
        """A new initialiser; returns its name."""
        import onnx

        name = self.fresh(stem)
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.graph.initializer.append(tensor)
        self.tensors[name] = self.graph.initializer[-1]
        return name

    def rank(self, name: str) -> int | None:
        """Number of axes, None when inference cannot tell."""
        kind = self.types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return len(kind.shape.dim)

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Axes, None for those that are open; None when not even the rank is known."""
        kind = self.types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32."""
        import onnx

        if name in self.tensors:
            return bool(self.tensors[name].data_type == onnx.TensorProto.FLOAT)
        kind = self.types.get(name)
        return kind is not None and kind.elem_type == onnx.TensorProto.FLOAT

    def only_consumer(self, name: str) -> Any | None:
        """The one node that reads a tensor, None when there are more, none, or it is an output."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def replace_nodes(self, nodes: Iterable[Any]) -> None:
        """Make these the nodes, in this order."""
        kept = list(nodes)
        copies = []
        for node in kept:
            copy = type(node)()
            copy.CopyFrom(node)
            copies.append(copy)
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self.index()

    def prune(self) -> None:
        """Drop initialisers that nothing reads."""
        used = {name for node in self.graph.node for name in (*node.input, *captured(node))} | set(self.outputs)
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        if len(kept) < len(self.graph.initializer):
            copies = []
            for tensor in kept:
                copy = type(tensor)()
                copy.CopyFrom(tensor)
                copies.append(copy)
            del self.graph.initializer[:]
            self.graph.initializer.extend(copies)
            self.index()


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    import onnx

    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def captured(node: Any) -> list[str]:
    """Names that the bodies of control flow take from outside (and some that they make themselves, which does no harm)."""
    names: list[str] = []
    stack = [body for a in node.attribute for body in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    while stack:
        body = stack.pop()
        for inner in body.node:
            names += inner.input
            stack += [b for a in inner.attribute for b in (*([a.g] if a.HasField("g") else []), *a.graphs)]
        names += [value.name for value in body.output]
    return names
