"""Write the smaller network: everything that channels lie on is cut to those that are kept. Child side."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from edgeopt.compiler.prune.classes import Axis
from edgeopt.compiler.prune.trace import Channels
from edgeopt.compiler.quantize.graph import Array, Graph, attribute
from edgeopt.compiler.quantize.layers import Layer


def kept(axis: Axis, removed: AbstractSet[int]) -> Array:
    """Which channels stay; bool [C]."""
    return ~np.isin(axis.classes, np.fromiter(removed, np.int64, len(removed)))


def shrink(channels: Channels, layers: dict[str, Layer], removed: AbstractSet[int]) -> Any:
    """A new model without the channels of `removed`. Names of tensors stay.

    Args:
        channels: of the whole graph, which is not changed.
        layers: by name, weights and biases at full size; what belongs to removed channels is cut off.
        removed: classes that are not locked.
    """
    own = type(channels.graph.model)()
    own.CopyFrom(channels.graph.model)
    del own.graph.value_info[:]
    cutter = _Cutter(channels, Graph(own, infer=False), removed)
    by_product = {layer.product: layer for layer in layers.values()}
    for node in cutter.graph.graph.node:
        layer = by_product.get(node.output[0]) if node.output else None
        if layer is not None:
            cutter.cut_layer(node, layer)
        cutter.cut_constants(node)
        cutter.cut_attributes(node)
    cutter.graph.prune()
    return own


class _Cutter:
    def __init__(self, channels: Channels, graph: Graph, removed: AbstractSet[int]) -> None:
        self.channels, self.graph, self.removed = channels, graph, removed

    def _kept(self, name: str) -> Array | None:
        axis = self.channels.axes.get(name)
        return None if axis is None else kept(axis, self.removed)

    def cut_layer(self, node: Any, layer: Layer) -> None:
        inputs, outputs = self._kept(layer.source), self._kept(layer.product)
        weight, bias = layer.weight, layer.bias
        if outputs is not None:
            weight, bias = weight[outputs], bias[outputs]
        if inputs is not None and layer.group == 1:
            weight = weight[:, inputs]
        if layer.depthwise and outputs is not None and inputs is not None:
            _set(node, "group", int(inputs.sum()))
        is_matmul = layer.kind == "MatMul"
        node.input[1] = self.graph.add_constant(f"{layer.name}_weight", weight.T if is_matmul else weight)
        reader, position = (self.graph.producer[layer.linear], 1) if is_matmul else (node, 2)
        reader.input[position] = self.graph.add_constant(f"{layer.name}_bias", bias)

    def cut_constants(self, node: Any) -> None:
        """Constants that meet the channels element by element. A bias that a layer brought is cut already."""
        for position, name in enumerate(node.input):
            axis = self.channels.constants.get((node.output[0], position)) if node.output else None
            value = None if axis is None else self.graph.constant(name)
            if axis is not None and value is not None and value.shape[axis.axis] == len(axis.classes):
                mine = kept(axis, self.removed)
                if not mine.all():
                    node.input[position] = self.graph.add_constant(name, np.compress(mine, value, axis.axis))

    def cut_attributes(self, node: Any) -> None:
        if node.op_type == "Split" and self.channels.axes.get(node.input[0]) is not None:
            self._cut_split(node)
        elif node.op_type == "Reshape":
            self._cut_reshape(node)

    def _cut_split(self, node: Any) -> None:
        axis = self.channels.axes[node.input[0]]
        parts = [self._kept(name) for name in node.output]
        if int(attribute(node, "axis", 0)) % (self.channels.graph.rank(node.input[0]) or 1) != axis.axis:
            return
        sizes = np.array([int(part.sum()) for part in parts if part is not None], np.int64)
        inputs = [node.input[0], self.graph.add_constant(f"{node.output[0]}_sizes", sizes)]
        del node.input[:]
        node.input.extend(inputs)
        others = [each for each in node.attribute if each.name != "num_outputs"]
        if len(others) < len(node.attribute):
            copies = [type(each).FromString(each.SerializeToString()) for each in others]
            del node.attribute[:]
            node.attribute.extend(copies)

    def _cut_reshape(self, node: Any) -> None:
        axis, target = self.channels.axes.get(node.output[0]), self.graph.constant(node.input[1])
        if axis is None or target is None or target[axis.axis] <= 0:
            return
        changed = target.copy()
        changed[axis.axis] = int(kept(axis, self.removed).sum())
        if changed[axis.axis] != target[axis.axis]:
            node.input[1] = self.graph.add_constant(node.input[1], changed)


def _set(node: Any, name: str, value: int) -> None:
    for each in node.attribute:
        if each.name == name:
            each.i = value
