"""An ONNX graph as a torch module, node by node, so that it can be trained and written back: its float constants are parameters under their own names. Child side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.reading import opset_of
from edgeopt.compiler.refuse import Refused, out_of_memory
from edgeopt.compiler.train.operators import OPERATORS, Node
from edgeopt.compiler.train.operators.elementwise import ELEMENTWISE
from edgeopt.compiler.train.operators.layout import from_numpy
from edgeopt.compiler.train.roles import RANDOM, role_of

KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft")
Tensors = dict[str, Any]


class Twin(torch.nn.Module):  # type: ignore[misc]
    """A graph that computes in torch what ONNX Runtime computes.

    `roles` says of each constant that can be trained what it is to the network: weight, affine or table. Shapes and the graph itself never change: `written` puts trained values back
    into a copy of the graph.

    Raises:
        Refused: twin-unsupported: an operator is not known, with its node; twin-random: the graph draws random numbers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        graph = model.graph
        constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
        fed = [value for value in graph.input if value.name not in constants]
        self.input_names = tuple(value.name for value in fed)
        self.output_names = tuple(value.name for value in graph.output)
        self.batch = _fixed_batch(fed)
        self.nodes = tuple(_node(node, opset_of(model), self.batch) for node in graph.node)
        for node in self.nodes:
            _check(node)
        found = {name: role_of(name, array, self.nodes) for name, array in constants.items()}
        self.roles = {name: role for name, role in found.items() if role is not None}
        self._slots = {name: f"p{index}" for index, name in enumerate(constants)}
        self.adapters = torch.nn.ModuleDict()
        self.behind = torch.nn.ModuleDict()
        self._fixed: Tensors = {}
        for name, array in constants.items():
            tensor = from_numpy(array)
            if name in self.roles:
                self.register_parameter(self._slots[name], torch.nn.Parameter(tensor))
            elif tensor.is_floating_point() and tensor.dim() > 0:
                self.register_buffer(self._slots[name], tensor)
            else:
                # Shapes and places stay on the CPU, where they are read.
                self._fixed[name] = tensor
        self._readers = _last_readers(self.nodes)
        self._others: dict[str, str] = {}
        self._behind: dict[str, str] = {}
        self._programs: dict[Any, tuple[tuple[int, Node], ...]] = {}

    def parameter(self, name: str) -> Any:
        """The trainable constant of that name."""
        return getattr(self, self._slots[name])

    def set_trainable(self, roles: Sequence[str]) -> list[str]:
        """Let constants of these roles be trained and freeze the rest. Returns their names, in the graph's order."""
        for name, role in self.roles.items():
            self.parameter(name).requires_grad_(role in roles)
        return [name for name, role in self.roles.items() if role in roles]

    def forward(self, feeds: Mapping[str, Any], wanted: Sequence[str] | None = None) -> Tensors:
        """Run the graph as far as it is needed.

        Args:
            feeds: a tensor by input's name, as ONNX Runtime takes it, of any size of batch.
            wanted: names of tensors; all outputs by default.

        Returns:
            The wanted tensors by name.
        """
        asked = tuple(wanted or self.output_names)
        names = tuple(self.own_name(name) for name in asked)
        values: Tensors = {name: self._moved(feeds[name]) for name in self.input_names}
        for index, node in self._program(names, _batch_of(feeds.values())):
            inputs = [self._value(name, values) if name else None for name in node.inputs]
            made = _run(node, inputs)
            values.update(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False))
            for name in self._behind.keys() & set(node.outputs):
                values[name] = self.behind[self._behind[name]](values[name])
            for name in node.inputs:
                if self._readers.get(name) == index and name not in names:
                    values.pop(name, None)
        return {other: self._value(name, values) for other, name in zip(asked, names, strict=True)}

    def also_known_as(self, own: str, other: str) -> None:
        """Let a tensor be asked for by another name, such as that of its counterpart in another graph."""
        if own != other:
            self._others[other] = own

    def own_name(self, name: str) -> str:
        """The name in the graph of what is asked for by some name."""
        return self._others.get(name, name)

    def _program(self, names: tuple[str, ...], batch: int | None) -> tuple[tuple[int, Node], ...]:
        """The nodes that some tensors need, knowing the size of the batch where it is another than the graph's."""
        running = batch if batch != self.batch else None
        key = (names, running)
        if key not in self._programs:
            needed = _needed(self.nodes, names)
            self._programs[key] = tuple(
                (index, replace(node, running=running)) for index, node in enumerate(self.nodes) if index in needed
            )
        return self._programs[key]

    def constants(self) -> Iterator[tuple[str, Any]]:
        """(name, float32 array) of everything that can be trained, adapters merged."""
        with torch.no_grad():
            for name in self.roles:
                yield name, self._value(name, {}).detach().cpu().numpy()

    def written(self, model: Any) -> Any:
        """A copy of the graph with the constants as they are now; all else as it was."""
        copy = type(model).FromString(model.SerializeToString())
        values = dict(self.constants())
        for tensor in copy.graph.initializer:
            if tensor.name in values:
                _write(tensor, values[tensor.name])
        return copy

    def _value(self, name: str, values: Tensors) -> Any:
        if name in values:
            return values[name]
        if name in self._fixed:
            return self._fixed[name]
        slot = self._slots[name]
        tensor = getattr(self, slot)
        return self.adapters[slot](tensor) if slot in self.adapters else tensor

    def _moved(self, tensor: Any) -> Any:
        return tensor.to(self.device) if tensor.is_floating_point() or tensor.dim() > 1 else tensor

    @property
    def device(self) -> Any:
        """Where its parameters are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def add_adapter(self, name: str, adapter: Any) -> None:
        """Let a module stand between a constant and what reads it, before those that stand there already."""
        slot = self._slots[name]
        self.adapters[slot] = torch.nn.Sequential(adapter, self.adapters[slot]) if slot in self.adapters else adapter

    def add_behind(self, name: str, module: Any) -> None:
        """Let a module stand between what a node makes and what reads it."""
        self._behind[name] = f"m{len(self._behind)}"
        self.behind[self._behind[name]] = module


def _run(node: Node, inputs: list[Any]) -> Any:
    """One node. What torch says becomes a sentence with the node's name."""
    on = next((x.device for x in inputs if x is not None and x.device.type != "cpu"), None)
    if on is not None:
        inputs = [x if x is None or not _belongs(x, node) else x.to(on) for x in inputs]
    try:
        return OPERATORS[node.op](node, inputs)
    except Refused:
        raise
    except Exception as error:
        if out_of_memory(error) or isinstance(error, torch.OutOfMemoryError):
            raise
        raise node.refuse(
            f"torch says: {str(error).splitlines()[0][:160] if str(error) else type(error).__name__}"
        ) from error


_READ_ON_CPU = frozenset(
    {
        "Reshape",
        "Expand",
        "Tile",
        "Pad",
        "Resize",
        "Upsample",
        "Slice",
        "ConstantOfShape",
        "Unsqueeze",
        "Squeeze",
        "Split",
    }
    | {"Clip", "TopK", "Trilu", "CumSum", "Dropout"}
)
"""Operators whose further inputs are shapes, places and limits, which are read as numbers: from a GPU that would wait for it."""


def _belongs(tensor: Any, node: Node) -> bool:
    """Whether a tensor on the CPU goes where the others are. Single numbers need not, to be computed with."""
    alone = tensor.dim() == 0 and node.op in ELEMENTWISE
    return tensor.device.type == "cpu" and node.op not in _READ_ON_CPU and not alone


def _check(node: Node) -> None:
    if node.op in RANDOM:
        raise Refused("twin-random", f"{node.title} draws random numbers, so the network answers differently each time")
    if node.op not in OPERATORS:
        raise node.refuse("edgeopt has no version of it in torch")


def _node(proto: Any, opset: int, batch: int | None) -> Node:
    from onnx import helper, numpy_helper

    attributes = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        attributes[attribute.name] = numpy_helper.to_array(value) if attribute.HasField("t") else value
    op = proto.op_type if proto.domain in KNOWN_DOMAINS else f"{proto.domain}.{proto.op_type}"
    return Node(
        op=op,
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        opset=opset,
        batch=batch,
    )


def _fixed_batch(inputs: Sequence[Any]) -> int | None:
    """The first axis of the inputs where all that have axes agree on a fixed one."""
    first = set()
    for value in inputs:
        axes = value.type.tensor_type.shape.dim
        if len(axes):
            first.add(axes[0].dim_value if axes[0].HasField("dim_value") else 1)
    return first.pop() if len(first) == 1 else None


def _batch_of(tensors: Iterable[Any]) -> int | None:
    """The first axis of what is fed, where all agree on it."""
    first = {tensor.shape[0] for tensor in tensors if tensor.dim()}
    return first.pop() if len(first) == 1 else None


def _last_readers(nodes: Sequence[Node]) -> dict[str, int]:
    return {name: index for index, node in enumerate(nodes) for name in node.inputs}


def _needed(nodes: Sequence[Node], wanted: Sequence[str]) -> set[int]:
    open_names, needed = set(wanted), set()
    for index in range(len(nodes) - 1, -1, -1):
        if open_names.intersection(nodes[index].outputs):
            needed.add(index)
            open_names.update(nodes[index].inputs)
    return needed


def _array(tensor: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def _write(tensor: Any, array: Any) -> None:
    """New values for a constant, its name, shape and type as they were."""
    from onnx import numpy_helper

    fresh = numpy_helper.from_array(np.asarray(array, np.float32).reshape(tuple(tensor.dims)), tensor.name)
    tensor.CopyFrom(fresh)
