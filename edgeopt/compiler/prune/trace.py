"""Follow channels through a graph: which tensors carry them on which axis, which can only go together, which must stay. Child side.

Every product by weights makes new channels. Operators that keep channels apart hand them on, those that meet in one element (a residual sum, a gate, heads of attention) become one class, and whatever is
not known here, like an output of the model, locks them. This is the dependency graph of Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023, kept for each channel instead of each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edgeopt.compiler.prune.classes import Axis, Union
from edgeopt.compiler.prune.shapes import reshaped
from edgeopt.compiler.quantize.graph import Array, Graph, attribute, captured
from edgeopt.compiler.quantize.layers import Layer

ONE_BY_ONE = frozenset(
    {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Clip", "Elu", "Selu", "Gelu", "Erf"}
    | {"Softplus", "Softsign", "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Identity", "Dropout", "Mish"}
    | {"Celu", "ThresholdedRelu", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos"}
)
"""Each element from that of the same place in the first input."""

TOGETHER = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "PRelu", "Where"})
"""Elements of the same place, with broadcasting."""

POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"})
NORMS = {"BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2)}
"""Inputs that have an entry for each channel."""

REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"})


class Channels:
    """What was found. `axes`: by tensor, those that carry channels; `constants`: by (output of a node, position of an input), those that are to be cut like that."""

    def __init__(self, graph: Graph, layers: Iterable[Layer]) -> None:
        """Trace `graph`: opset 13 or later, products normalised. Only `layers` can be cut."""
        self.graph = graph
        self._products = {layer.product for layer in layers}
        self.union = Union()
        self.axes: dict[str, Axis] = {}
        self.constants: dict[tuple[str, int], Axis] = {}
        for node in graph.graph.node:
            found = self._rule(node)(node) if node.domain in ("", "ai.onnx") else None
            if found is None:
                self._stop(node)
            else:
                self.axes.update({name: axis for name, axis in found.items() if name})
        for name in graph.outputs:
            self._lock(name)
        self.axes = {name: self._resolved(axis) for name, axis in self.axes.items()}
        self.constants = {key: self._resolved(axis) for key, axis in self.constants.items()}

    def _resolved(self, axis: Axis) -> Axis:
        return Axis(axis=axis.axis, classes=self.union.resolved(axis.classes))

    def _rule(self, node: Any) -> Callable[[Any], dict[str, Axis] | None]:
        kind = node.op_type
        if kind in ONE_BY_ONE:
            return self._same
        if kind in TOGETHER:
            return self._together
        if kind in POOLS:
            return self._pool
        if kind in NORMS:
            return self._norm
        if kind in REDUCTIONS:
            return self._reduce
        return {
            "Conv": self._conv,
            "Gemm": self._matrix,
            "MatMul": self._matrix,
            "Concat": self._concat,
            "Split": self._split,
            "Transpose": self._transpose,
            "Reshape": self._reshape,
            "Flatten": self._reshape,
            "Squeeze": self._reshape,
            "Unsqueeze": self._reshape,
            "Pad": self._pad,
            "Resize": self._resize,
            "Softmax": self._softmax,
            "LogSoftmax": self._softmax,
            "Shape": lambda _: {},
        }.get(kind, lambda _: None)

    def _stop(self, node: Any) -> None:
        for name in (*node.input, *captured(node)):
            self._lock(name)

    def _lock(self, name: str) -> None:
        if name in self.axes:
            self.union.lock(self.axes[name].classes)

    def _same(self, node: Any) -> dict[str, Axis]:
        axis = self.axes.get(node.input[0])
        return {} if axis is None else {node.output[0]: axis}

    def _pool(self, node: Any) -> dict[str, Axis] | None:
        axis = self.axes.get(node.input[0])
        if axis is None:
            return {}
        return None if axis.axis != 1 or len(node.output) > 1 else {node.output[0]: axis}

    def _conv(self, node: Any) -> dict[str, Axis] | None:
        weight, source = self.graph.tensors.get(node.input[1]), self.axes.get(node.input[0])
        if weight is None or (source is not None and source.axis != 1) or node.output[0] not in self._products:
            return None
        outputs, inputs = weight.dims[0], weight.dims[1]
        group = int(attribute(node, "group", 1))
        if group == 1:
            return {node.output[0]: Axis(axis=1, classes=self.union.fresh(outputs))}
        if source is None:
            return {}
        if inputs == 1 and group == len(source.classes):
            return {node.output[0]: Axis(axis=1, classes=np.repeat(source.classes, outputs // group))}
        return None

    def _matrix(self, node: Any) -> dict[str, Axis] | None:
        """By a constant matrix: new channels on the last axis. Of two tensors: heads side by side stay apart."""
        weight, rank = self.graph.tensors.get(node.input[1]), self.graph.rank(node.output[0])
        source, other = self.axes.get(node.input[0]), self.axes.get(node.input[1])
        if weight is None:
            return self._heads(node, source, other) if node.op_type == "MatMul" else None
        if rank is None or node.output[0] not in self._products or (source is not None and source.axis != rank - 1):
            return None
        if node.op_type == "Gemm" and not attribute(node, "transB", 0):
            return None
        outputs = weight.dims[0] if node.op_type == "Gemm" else weight.dims[1]
        return {node.output[0]: Axis(axis=rank - 1, classes=self.union.fresh(outputs))}

    def _heads(self, node: Any, left: Axis | None, right: Axis | None) -> dict[str, Axis] | None:
        if left is None and right is None:
            return {}
        ranks = {self.graph.rank(name) for name in (*node.input, *node.output)}
        rank = next(iter(ranks))
        if left is None or right is None or len(ranks) > 1 or rank is None:
            return None
        if left.axis != right.axis or left.axis >= rank - 2 or len(left.classes) != len(right.classes):
            return None
        self.union.join(left.classes, right.classes)
        return {node.output[0]: left}

    def _together(self, node: Any) -> dict[str, Axis] | None:
        tracked = [(name, self.axes[name]) for name in node.input if name in self.axes]
        rank = self.graph.rank(node.output[0])
        if not tracked:
            return {}
        if rank is None:
            return None
        lies = {axis.axis - (self.graph.rank(name) or 0) for name, axis in tracked}
        counts = {len(axis.classes) for _, axis in tracked}
        if len(lies) > 1 or len(counts) > 1:
            return None
        behind, lead = next(iter(lies)), tracked[0][1]
        for position, name in enumerate(node.input):
            if name in self.axes:
                self.union.join(lead.classes, self.axes[name].classes)
            elif not self._broadcast(node, position, behind, lead):
                return None
        return {node.output[0]: Axis(axis=rank + behind, classes=lead.classes)}

    def _broadcast(self, node: Any, position: int, behind: int, lead: Axis) -> bool:
        """Whether an input without channels can meet those of `lead`, which lie `behind` (negative). A constant is cut with them."""
        name = node.input[position]
        tensor = self.graph.tensors.get(name)
        shape = self.graph.shape(name) if tensor is None else tuple(tensor.dims)
        if shape is None:
            return False
        if len(shape) < -behind or shape[behind] == 1:
            return True
        if tensor is None or shape[behind] != len(lead.classes):
            return False
        self.constants[node.output[0], position] = Axis(axis=len(shape) + behind, classes=lead.classes)
        return True

    def _norm(self, node: Any) -> dict[str, Axis] | None:
        axis = self.axes.get(node.input[0])
        if axis is None:
            return {}
        parts = NORMS[node.op_type]
        if axis.axis != 1 or len(node.output) > 1 or any(node.input[i] not in self.graph.tensors for i in parts):
            return None
        self.constants.update({(node.output[0], i): Axis(axis=0, classes=axis.classes) for i in parts})
        return {node.output[0]: axis}

    def _reduce(self, node: Any) -> dict[str, Axis] | None:
        axis, rank = self.axes.get(node.input[0]), self.graph.rank(node.input[0])
        if axis is None:
            return {}
        listed = self._listed(node, "axes", 1)
        if rank is None or listed is None:
            return None
        gone = {entry % rank for entry in listed}
        if axis.axis in gone:
            return None
        kept = attribute(node, "keepdims", 1)
        moved = axis.axis if kept else axis.axis - sum(entry < axis.axis for entry in gone)
        return {node.output[0]: Axis(axis=moved, classes=axis.classes)}

    def _listed(self, node: Any, name: str, position: int) -> list[int] | None:
        """Integers from an attribute, or from a constant input in later opsets; None when there are none."""
        found = attribute(node, name)
        if found is not None:
            return [int(entry) for entry in found]
        value = self.graph.constant(node.input[position]) if len(node.input) > position else None
        return None if value is None else [int(entry) for entry in value.reshape(-1)]

    def _softmax(self, node: Any) -> dict[str, Axis] | None:
        axis, rank = self.axes.get(node.input[0]), self.graph.rank(node.input[0])
        if axis is None:
            return {}
        if rank is None or int(attribute(node, "axis", -1)) % rank == axis.axis:
            return None
        return {node.output[0]: axis}

    def _concat(self, node: Any) -> dict[str, Axis] | None:
        tracked, rank = [self.axes.get(name) for name in node.input], self.graph.rank(node.output[0])
        known = [axis for axis in tracked if axis is not None]
        if not known:
            return {}
        lead = known[0]
        if rank is None or any(axis.axis != lead.axis for axis in known):
            return None
        if int(attribute(node, "axis")) % rank != lead.axis:
            if len(known) < len(tracked) or any(len(axis.classes) != len(lead.classes) for axis in known):
                return None
            for axis in known:
                self.union.join(lead.classes, axis.classes)
            return {node.output[0]: lead}
        parts: list[Array] = []
        for name, found in zip(node.input, tracked, strict=True):
            shape = self.graph.shape(name) if name not in self.graph.tensors else tuple(self.graph.tensors[name].dims)
            size = shape[lead.axis] if shape is not None and found is None else 0
            if size is None or (found is None and shape is None):
                return None
            parts.append(found.classes if found is not None else self.union.fresh(size, locked=True))
        return {node.output[0]: Axis(axis=lead.axis, classes=np.concatenate(parts))}

    def _split(self, node: Any) -> dict[str, Axis] | None:
        axis, rank = self.axes.get(node.input[0]), self.graph.rank(node.input[0])
        if axis is None:
            return {}
        if rank is None:
            return None
        if int(attribute(node, "axis", 0)) % rank != axis.axis:
            return dict.fromkeys(node.output, axis)
        sizes = [(self.graph.shape(name) or (None,) * rank)[axis.axis] for name in node.output]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes) or sum(known) != len(axis.classes):
            return None
        ends = np.cumsum(known)[:-1]
        parts = np.split(axis.classes, ends)
        return {name: Axis(axis=axis.axis, classes=part) for name, part in zip(node.output, parts, strict=True)}

    def _transpose(self, node: Any) -> dict[str, Axis] | None:
        axis, rank = self.axes.get(node.input[0]), self.graph.rank(node.input[0])
        if axis is None:
            return {}
        if rank is None:
            return None
        order = list(attribute(node, "perm", list(range(rank))[::-1]))
        return {node.output[0]: Axis(axis=order.index(axis.axis), classes=axis.classes)}

    def _reshape(self, node: Any) -> dict[str, Axis] | None:
        axis = self.axes.get(node.input[0])
        if axis is None:
            return {}
        before, after = self.graph.shape(node.input[0]), self.graph.shape(node.output[0])
        split = None if before is None or after is None else reshaped(before, after, axis.axis)
        if split is None or not self._follows(node, split.axis):
            return None
        runs = axis.classes.reshape(split.parts, -1)
        for place in range(1, runs.shape[1]):
            self.union.join(runs[:, 0], runs[:, place])
        return {node.output[0]: Axis(axis=split.axis, classes=np.repeat(runs[:, 0], split.repeat))}

    def _follows(self, node: Any, axis: int) -> bool:
        """Whether a Reshape can say another number of channels: its target is constant, or put together from parts that leave the channels' axis open (-1)."""
        if len(node.input) < 2 or node.op_type != "Reshape" or node.input[1] in self.graph.tensors:
            return True
        joined = self.graph.producer.get(node.input[1])
        if joined is None or joined.op_type != "Concat" or len(joined.input) <= axis:
            return False
        parts = [self.graph.shape(name) for name in joined.input]
        entry = self.graph.constant(joined.input[axis])
        return all(
            part == (1,) or name in self.graph.tensors for part, name in zip(parts, joined.input, strict=True)
        ) and (entry is not None and entry.reshape(-1).tolist() == [-1])

    def _pad(self, node: Any) -> dict[str, Axis] | None:
        axis = self.axes.get(node.input[0])
        if axis is None:
            return {}
        pads = self._listed(node, "pads", 1)
        if pads is None or (len(node.input) > 3 and node.input[3]):
            return None
        half = len(pads) // 2
        return None if pads[axis.axis] or pads[half + axis.axis] else {node.output[0]: axis}

    def _resize(self, node: Any) -> dict[str, Axis] | None:
        """By scales only: sizes would have to say how many channels there are."""
        axis = self.axes.get(node.input[0])
        if axis is None:
            return {}
        scales = self.graph.constant(node.input[2]) if len(node.input) == 3 else None
        if scales is None or scales.size <= axis.axis or scales.reshape(-1)[axis.axis] != 1.0:
            return None
        return {node.output[0]: axis}
